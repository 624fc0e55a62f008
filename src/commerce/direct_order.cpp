// Finds and writes orders without plans: see direct_order.hpp.

#include "commerce/direct_order.hpp"

#include "commerce/direct_index.hpp"
#include "commerce/direct_rows.hpp"

extern "C" {
#include <access/table.h>
#include <catalog/pg_type.h>
#include <executor/executor.h>
#include <utils/relcache.h>
}

namespace inventory_lock::commerce {

namespace {

// The id is the table's own default: an order writer's, which comes with the order, is left to the
// statement.
constexpr WrittenRole kOrderRoles[] = {{"user_id", ValueKind::kOwn},
                                       {"idempotency_key", ValueKind::kText},
                                       {"status", ValueKind::kText},
                                       {"total", ValueKind::kNumeric},
                                       {"currency", ValueKind::kText},
                                       {"data", ValueKind::kJsonb},
                                       {"request_fingerprint", ValueKind::kText},
                                       {"response", ValueKind::kJsonb}};
enum OrderColumn { kUser, kKey, kStatus, kTotal, kCurrency, kData, kFingerprint, kResponse };

constexpr WrittenRole kLineRoles[] = {
    {"order_id", ValueKind::kOrder},   {"line_no", ValueKind::kInteger},
    {"variant_id", ValueKind::kOwn},   {"location_id", ValueKind::kOwn},
    {"quantity", ValueKind::kInteger}, {"unit_price", ValueKind::kNumeric}};
enum LineColumn { kOrder, kLineNo, kVariant, kLocation, kQuantity, kUnitPrice };

DirectIndex FindByKey(const Binding &binding) {
    const Oid oid = binding.table(TableId::kOrders).oid;
    const AttrNumber user = binding.column(TableId::kOrders, "user_id").number;
    const AttrNumber key = binding.column(TableId::kOrders, "idempotency_key").number;
    return pg::Call([=] {
        const Relation relation = table_open(oid, NoLock);
        DirectIndex index;
        if (relation->rd_rel->relkind == RELKIND_RELATION && !relation->rd_rel->relhassubclass &&
            relation->rd_tableam == GetHeapamTableAmRoutine()) {
            index = FindDirectIndex(relation, user, key);
        }
        table_close(relation, NoLock);
        return index;
    });
}

// The name of the index that lets there be only one order of a user with a key; empty: none such.
NameData FindUnique(const Binding &binding) {
    const Oid oid = binding.table(TableId::kOrders).oid;
    const AttrNumber user = binding.column(TableId::kOrders, "user_id").number;
    const AttrNumber key = binding.column(TableId::kOrders, "idempotency_key").number;
    return pg::Call([=] {
        NameData name = {};
        const Relation relation = table_open(oid, NoLock);
        ListCell *cell;
        foreach (cell, RelationGetIndexList(relation)) {
            const Relation index = index_open(lfirst_oid(cell), AccessShareLock);
            const Form_pg_index form = index->rd_index;
            const AttrNumber *const columns = form->indkey.values;
            if (form->indisunique && form->indnkeyatts == 2 &&
                ((columns[0] == user && columns[1] == key) ||
                 (columns[0] == key && columns[1] == user))) {
                name = index->rd_rel->relname;
            }
            index_close(index, AccessShareLock);
        }
        table_close(relation, NoLock);
        return name;
    });
}

void Prepare(const Binding &binding, DirectOrders *orders) {
    orders->known = true;
    orders->unique = FindUnique(binding);
    const Column *const created_at = binding.find(TableId::kOrders, "created_at");
    if (!binding.order_writer().empty() || NameStr(orders->unique)[0] == '\0' ||
        (created_at != nullptr && created_at->type != TIMESTAMPTZOID)) {
        return;
    }
    PrepareRows(binding, TableId::kOrders, DirectOperation::kInsert, kOrderRoles,
                std::size(kOrderRoles), &orders->order);
    if (orders->order.table != nullptr) {
        const SatisfiedKey key = {binding.column(TableId::kOrderLine, "order_id").number,
                                  binding.table(TableId::kOrders).oid,
                                  binding.column(TableId::kOrders, "order_id").number};
        PrepareRows(binding, TableId::kOrderLine, DirectOperation::kInsert, kLineRoles,
                    std::size(kLineRoles), &orders->line, &key);
    }
}

}  // namespace

bool SurelyNoOrder(Binding &binding, const Id &user, const std::string &idempotency_key) {
    DirectOrders &orders = binding.orders();
    const Table &table = binding.table(TableId::kOrders);
    const Oid key_type = binding.column(TableId::kOrders, "idempotency_key").type;
    if (!binding.is_current() || (key_type != TEXTOID && key_type != VARCHAROID) ||
        ExecutorCheckPerms_hook != nullptr || RowSecurityApplies(table)) {
        return false;
    }
    if (!orders.index_known) {
        orders.index_known = true;
        orders.by_key = FindByKey(binding);
    }
    if (!orders.by_key.second) {
        return false;
    }
    const Datum values[] = {user.value, TextDatum(idempotency_key)};
    const Oid relation = table.oid;
    const DirectIndex &index = orders.by_key;
    return !pg::Call([&] { return RowExists(relation, index, values, 2); });
}

bool CanWriteOrdersDirectly(Binding &binding) {
    if (!binding.is_current()) {
        return false;
    }
    DirectOrders &orders = binding.orders();
    if (IsInterrupted(orders.order.table) || IsInterrupted(orders.line.table)) {
        ForgetRows(&orders.order);
        ForgetRows(&orders.line);
        orders.known = false;
    }
    if (!orders.known) {
        Prepare(binding, &orders);
    }
    return CanWriteRows(binding, TableId::kOrderLine, orders.line) &&
           CanWriteRows(binding, TableId::kOrders, orders.order);
}

std::optional<WrittenOrder> WriteOrderDirectly(Binding &binding, const OrderRequest &request,
                                               const Id &user, const OrderRecord &record,
                                               Datum response) {
    const DirectOrders &orders = binding.orders();
    WrittenOrder written;
    RowValues order(orders.order);
    order.Value(kUser, user.value);
    order.Text(kKey, request.idempotency_key);
    order.Text(kStatus, record.status);
    order.Numeric(kTotal, request.total);
    order.Text(kCurrency, request.currency);
    order.Value(kData, request.data);
    order.Text(kFingerprint, request.Fingerprint());
    order.Value(kResponse, response);
    const Column &id = binding.column(TableId::kOrders, "order_id");
    const Column *const created_at = binding.find(TableId::kOrders, "created_at");
    DirectValue returned[] = {{id.number, 0, true}, {NumberOf(created_at), 0, true}};

    const Column &variant_column = binding.column(TableId::kOrderLine, "variant_id");
    const Column *const location_column = binding.find(TableId::kOrderLine, "location_id");
    std::vector<RowValues> lines;
    lines.reserve(record.locations.size());
    for (size_t i = 0; i < record.locations.size(); i++) {
        const RequestLine &line = request.lines[i];
        RowValues &values = lines.emplace_back(orders.line);
        values.Int8(kLineNo, static_cast<int64>(i) + 1);
        values.Value(kVariant, ParseId(variant_column, line.need.variant.text, "variant_id").value);
        if (location_column != nullptr) {
            values.Value(kLocation,
                         ParseId(*location_column, record.locations[i], "location_id").value);
        }
        values.Int8(kQuantity, line.quantity);
        values.Numeric(kUnitPrice, line.unit_price);
        if (!values.good()) {
            return std::nullopt;  // the statement says why not
        }
    }
    try {
        pg::Call([&] {
            InsertDirectly(orders.order.table, order.values(), order.count(), returned,
                           created_at != nullptr ? 2 : 1);
        });
    } catch (const pg::PgError &error) {
        if (error.edata == nullptr || error.edata->sqlerrcode != ERRCODE_UNIQUE_VIOLATION ||
            error.edata->constraint_name == nullptr ||
            strcmp(error.edata->constraint_name, NameStr(orders.unique)) != 0) {
            throw;
        }
        written.exists = true;
        return written;
    }
    for (RowValues &values : lines) {
        values.Value(kOrder, returned[0].value);
        pg::Call([&] {
            InsertDirectly(orders.line.table, values.values(), values.count(), nullptr, 0);
        });
    }
    written.order_id = TextOfId(id.type, returned[0].value);
    if (!returned[1].is_null) {
        written.created_at = returned[1].value;
    }
    return written;
}

}  // namespace inventory_lock::commerce
