// Writes orders: see order_record.hpp. Runs in: backends.

#include "commerce/order_record.hpp"

#include "commerce/direct_order.hpp"
#include "commerce/outbox.hpp"
#include "pg/injection.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr size_t kFirstHoldParameter = 23;

enum class Levels : uint8 { kInStatement, kApart };

// `hold`: a CTE that ends the reservation which the order uses, empty when there is none. `levels`:
// whether the statement writes the changes of levels too.
std::unique_ptr<Statement> OrderStatement(const Binding &binding, Levels levels,
                                          const std::string &hold,
                                          const std::vector<Oid> &hold_types) {
    const auto type_of = [&binding](TableId table, const char *role) {
        const Column *const column = binding.find(table, role);
        return column != nullptr ? column->type : TEXTOID;
    };
    const auto array_of = [](Oid type) {
        return pg::Call([type] { return get_array_type(type); });
    };
    const Column *const created_at = binding.find(TableId::kOrders, "created_at");
    const bool written = !binding.order_writer().empty();
    const std::string order_id = "COALESCE($" +
                                 std::to_string(kFirstHoldParameter + hold_types.size()) +
                                 ", pg_catalog.gen_random_uuid()::pg_catalog.text)";
    const std::string order = InsertSelect(binding, TableId::kOrders,
                                           {{written ? "order_id" : "", order_id},
                                            {"user_id", "$11"},
                                            {"idempotency_key", "$12"},
                                            {"status", "$13"},
                                            {"total", "$14::pg_catalog.numeric"},
                                            {"currency", "$15"},
                                            {"data", "$16"},
                                            {"request_fingerprint", "$17"},
                                            {"response", "$18"}});
    const std::string line = InsertSelect(binding, TableId::kOrderLine,
                                          {{"order_id", "p.order_id"},
                                           {"line_no", "u.n"},
                                           {"variant_id", "u.variant_id"},
                                           {"location_id", "u.location_id"},
                                           {"quantity", "u.quantity"},
                                           {"unit_price", "u.unit_price::pg_catalog.numeric"}});
    ChangeTexts texts;
    texts.reference_id = "p.order_id::pg_catalog.text";
    texts.from = " CROSS JOIN placed p";
    if (!hold.empty()) {
        texts.held = "$23";
        texts.kind = "CASE WHEN l.delta{=}0 THEN 'hold_release' ELSE $6 END";
    }
    const std::string sql =
        "WITH placed AS (" + order +
        binding.Sql(
            " ON CONFLICT ({orders.user_id}, {orders.idempotency_key}) DO NOTHING"
            " RETURNING {orders.order_id} AS order_id, ") +
        (created_at != nullptr ? QuoteName(created_at->name) : std::string("NULL")) +
        "::pg_catalog.timestamptz AS created_at), line AS (" + line +
        " FROM placed p CROSS JOIN ROWS FROM (pg_catalog.unnest($19), pg_catalog.unnest($20),"
        " pg_catalog.unnest($21), pg_catalog.unnest($22)) WITH ORDINALITY"
        " AS u (variant_id, location_id, quantity, unit_price, n))" +
        (levels == Levels::kInStatement ? ", " + ChangeCtes(binding, texts) : std::string()) +
        hold + " SELECT p.order_id::pg_catalog.text, p.created_at" +
        (levels == Levels::kInStatement ? ", (SELECT pg_catalog.count(*) FROM level)" : "") +
        " FROM placed p";
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> order_types = {type_of(TableId::kOrders, "user_id"),
                                          TEXTOID,
                                          TEXTOID,
                                          TEXTOID,
                                          TEXTOID,
                                          JSONBOID,
                                          TEXTOID,
                                          JSONBOID,
                                          array_of(type_of(TableId::kOrderLine, "variant_id")),
                                          array_of(type_of(TableId::kOrderLine, "location_id")),
                                          INT8ARRAYOID,
                                          TEXTARRAYOID};
    types.insert(types.end(), order_types.begin(), order_types.end());
    types.insert(types.end(), hold_types.begin(), hold_types.end());
    if (written) {
        types.push_back(TEXTOID);
    }
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildWriteOrder(const Binding &binding) {
    return OrderStatement(binding, Levels::kInStatement, {}, {});
}

std::unique_ptr<Statement> BuildWriteOrderRows(const Binding &binding) {
    return OrderStatement(binding, Levels::kApart, {}, {});
}

std::unique_ptr<Statement> OrderFromHold(const Binding &binding, Levels levels) {
    const bool ordered = binding.find(TableId::kReservation, "order_id") != nullptr;
    const std::string hold = binding.Sql(
        ", hold AS (UPDATE {reservation} s SET {reservation.state} = 'confirmed',"
        " {reservation.confirmed} = u.given" +
        std::string(ordered ? ", {reservation.order_id} ="
                              " p.order_id::pg_catalog.text::{type:reservation.order_id}"
                            : ""));
    return OrderStatement(
        binding, levels,
        hold +
            OfLines(binding, TableId::kReservation, "reservation_id", kFirstHoldParameter + 1,
                    " CROSS JOIN placed p") +
            ")",
        {INT8ARRAYOID, binding.column(TableId::kReservation, "reservation_id").type, INT8ARRAYOID,
         INT8ARRAYOID});
}

std::unique_ptr<Statement> BuildWriteOrderFromHold(const Binding &binding) {
    return OrderFromHold(binding, Levels::kInStatement);
}

std::unique_ptr<Statement> BuildWriteOrderRowsFromHold(const Binding &binding) {
    return OrderFromHold(binding, Levels::kApart);
}

// The statement that writes an order, and whether it writes the changes of levels too.
Statement &StatementFor(Binding &binding, Levels levels, bool from_hold) {
    if (levels == Levels::kInStatement) {
        return from_hold ? binding.Plan(PlanId::kWriteOrderFromHold, BuildWriteOrderFromHold)
                         : binding.Plan(PlanId::kWriteOrder, BuildWriteOrder);
    }
    return from_hold ? binding.Plan(PlanId::kWriteOrderRowsFromHold, BuildWriteOrderRowsFromHold)
                     : binding.Plan(PlanId::kWriteOrderRows, BuildWriteOrderRows);
}

void AddHold(const OrderRecord &record, Params *params) {
    std::vector<int64> line_numbers;
    std::vector<int64> confirmed;
    for (const HoldLine &line : record.hold->lines) {
        line_numbers.push_back(line.line_no);
        confirmed.push_back(line.confirmed);
    }
    params->Int8Array(HeldDeltas(record.changes))
        .Value(record.hold->id.value)
        .Int8Array(line_numbers)
        .Int8Array(confirmed);
}

}  // namespace

OrderAnswer FromResponse(const std::string &order_id, Datum stored) {
    OrderAnswer answer;
    answer.order_id = order_id;
    answer.status = JsonbText(stored, "status").value_or("");
    answer.total = JsonbText(stored, "total");
    const auto lines = JsonbMember(stored, "lines");
    answer.lines = lines ? *lines : MakeJsonb("[]");
    if (const auto fence = JsonbText(stored, "fence")) {
        answer.fence = std::stoll(*fence);
    }
    answer.protection = JsonbText(stored, "protection").value_or("");
    answer.sqlstate = JsonbText(stored, "sqlstate");
    // The id is not in the stored form: the row gets it only when it is written.
    answer.response = JsonbWith(stored, "order_id", order_id);
    return answer;
}

namespace {

[[noreturn]] void ThrowWrittenMeanwhile(const OrderRequest &request) {
    // Only somebody who writes orders without our lock can have been faster.
    throw pg::SqlError(pg::kIdempotencyRequestInProgress,
                       "an order with idempotency_key \"" + request.idempotency_key +
                           "\" has just been written by somebody else",
                       {}, "Retry the transaction.");
}

// The order and its lines, and with Levels::kInStatement the changes of levels.
WrittenOrder WriteByStatement(Binding &binding, const OrderRequest &request, const Id &user,
                              const OrderRecord &record, Datum response, Levels levels,
                              const Occasion &occasion) {
    const Column &variant_column = binding.column(TableId::kOrderLine, "variant_id");
    const Column *const location_column = binding.find(TableId::kOrderLine, "location_id");
    std::vector<std::optional<Datum>> variants;
    std::vector<std::optional<Datum>> locations;
    std::vector<int64> quantities;
    std::vector<std::optional<std::string>> prices;
    for (size_t i = 0; i < record.locations.size(); i++) {
        const RequestLine &line = request.lines[i];
        variants.emplace_back(ParseId(variant_column, line.need.variant.text, "variant_id").value);
        locations.emplace_back(
            location_column != nullptr
                ? ParseId(*location_column, record.locations[i], "location_id").value
                : TextDatum(record.locations[i]));
        quantities.push_back(line.quantity);
        prices.push_back(line.unit_price);
    }
    Params params = ChangeParams(
        binding, levels == Levels::kApart ? std::vector<StockChange>() : record.changes, occasion);
    params.Value(user.value)
        .Text(request.idempotency_key)
        .Text(record.status)
        .Text(request.total)
        .Text(request.currency)
        .Value(request.data)
        .Text(request.Fingerprint())
        .Value(response)
        .Array(variants, variant_column.type)
        .Array(locations, location_column != nullptr ? location_column->type : TEXTOID)
        .Int8Array(quantities)
        .TextArray(prices);
    if (record.hold) {
        AddHold(record, &params);
    }
    if (!binding.order_writer().empty()) {
        params.Text(record.order_id);
    }
    const Rows rows = StatementFor(binding, levels, record.hold.has_value()).Run(params);
    WrittenOrder written;
    if (rows.empty()) {
        written.exists = true;
        return written;
    }
    if (levels == Levels::kInStatement &&
        rows.Int8(0, 2) != static_cast<int64>(record.changes.size())) {
        throw NotWritten(record.changes.front().variant.text);
    }
    written.order_id = rows.Text(0, 0);
    bool is_null;
    const Datum created_at = rows.Value(0, 1, &is_null);
    if (!is_null) {
        written.created_at = created_at;
    }
    return written;
}

}  // namespace

OrderAnswer WriteOrder(Binding &binding, const OrderRequest &request, const Id &user,
                       const OrderRecord &record) {
    Occasion occasion;
    occasion.kind = "sale";
    occasion.reason = "sale";
    occasion.reference_type = "order";
    const Levels levels =
        CanWriteEachDirectly(binding, record.changes) ? Levels::kApart : Levels::kInStatement;
    const Datum response = MakeJsonb(record.response);
    IL_INJECT("order-writing");
    std::optional<WrittenOrder> written;
    if (levels == Levels::kApart && !record.hold && CanWriteOrdersDirectly(binding)) {
        written = WriteOrderDirectly(binding, request, user, record, response);
    }
    if (!written) {
        written = WriteByStatement(binding, request, user, record, response, levels, occasion);
    }
    if (written->exists) {
        ThrowWrittenMeanwhile(request);
    }
    if (levels == Levels::kApart) {
        occasion.reference_id = written->order_id;
        WriteEachDirectly(binding, record.changes, occasion);
    }
    IL_INJECT("order-written");
    WriteEvents(binding, record.changes);
    IL_INJECT("order-events-written");
    OrderAnswer answer = FromResponse(written->order_id, response);
    if (written->created_at) {
        answer.created_at = *written->created_at;
    }
    return answer;
}

}  // namespace inventory_lock::commerce
