// Cancels orders: see cancellation.hpp.

#include "commerce/cancellation.hpp"

#include "commerce/outbox.hpp"
#include "pg/injection.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

std::unique_ptr<Statement> BuildWriteCancellation(const Binding &binding) {
    ChangeTexts texts;
    texts.reference_id = "$11::pg_catalog.text";
    texts.request_key = "$15{||}l.n::pg_catalog.text";
    const std::string sql = "WITH " + ChangeCtes(binding, texts) + ", line AS (" +
                            AddToLines(binding, "cancelled", 11) +
                            binding.Sql(
                                "), head AS (UPDATE {orders} s SET {orders.status} = $14"
                                " WHERE s.{orders.order_id}{=}$11)") +
                            SelectWritten(binding);
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> own_types = {OrderIdType(binding), INT8ARRAYOID, INT8ARRAYOID, TEXTOID,
                                        TEXTOID};
    types.insert(types.end(), own_types.begin(), own_types.end());
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildFindCancellation(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{movement.variant_id})::pg_catalog.text,"
                    " (s.{movement.delta})::pg_catalog.int8,"
                    " (s.{movement.request_key})::pg_catalog.text"
                    " FROM {movement} s WHERE s.{movement.reference_type}{=}'order'"
                    " AND s.{movement.reference_id}{=}$1"
                    " AND pg_catalog.starts_with(s.{movement.request_key}, $2)"),
        std::vector<Oid>{binding.column(TableId::kMovement, "reference_id").type, TEXTOID});
}

std::string KeyPrefix(const Order &order, const std::string &request_key) {
    return "cancel:" + order.id.text + ":" + request_key + ":";
}

std::optional<std::string> KeyPrefixOf(const OrderChangeRequest &request, const Order &order) {
    const auto &request_key = request.occasion.request_key;
    return request_key ? std::optional<std::string>(KeyPrefix(order, *request_key)) : std::nullopt;
}

void WriteCancellation(Binding &binding, const OrderChangeRequest &request,
                       OrderChangeAnswer *answer) {
    Params params = ChangeParams(binding, answer->changes, request.occasion);
    AddChosenLines(answer->order, &params);
    for (OrderLine &line : answer->order.lines) {
        line.cancelled += line.chosen;
    }
    answer->order.status = StatusOf(answer->order.lines);
    params.Text(answer->order.status).Text(KeyPrefixOf(request, answer->order));
    const Rows rows = binding.Plan(PlanId::kWriteCancellation, BuildWriteCancellation).Run(params);
    answer->written = ReadWritten(rows, answer->changes);
    WriteEvents(binding, answer->changes);
}

// Did an earlier call with the same request_key cancel something? Then how much.
bool FindEarlierCancellation(Binding &binding, const OrderChangeRequest &request,
                             OrderChangeAnswer *answer) {
    const auto prefix = KeyPrefixOf(request, answer->order);
    if (!prefix) {
        return false;
    }
    const Column &reference = binding.column(TableId::kMovement, "reference_id");
    Params params;
    params.Value(ParseId(reference, answer->order.id.text, "order_id").value).Text(prefix);
    const Rows rows = binding.Plan(PlanId::kFindCancellation, BuildFindCancellation).Run(params);
    UnitsByVariant earlier;
    for (size_t i = 0; i < rows.size(); i++) {
        // The rest is the number of the change. Else it is of a key that begins with ours.
        const std::string rest = rows.Text(i, 2).substr(prefix->size());
        if (rest.find_first_not_of("0123456789") == std::string::npos) {
            answer->units += rows.Int8(i, 1);
            earlier[rows.Text(i, 0)] += rows.Int8(i, 1);
        }
    }
    if (!earlier.empty()) {
        RequireSameUnits(request, answer->order, earlier);
    }
    return !earlier.empty();
}

std::unique_ptr<Statement> BuildWriteFulfilment(const Binding &binding) {
    return std::make_unique<Statement>(
        "WITH line AS (" + AddToLines(binding, "fulfilled", 1) +
            binding.Sql(") UPDATE {orders} s SET {orders.status} = $4"
                        " WHERE s.{orders.order_id}{=}$1"),
        std::vector<Oid>{OrderIdType(binding), INT8ARRAYOID, INT8ARRAYOID, TEXTOID});
}

}  // namespace

std::shared_ptr<Binding> OpenForCancelling(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                 kEventAccess,
                                 {TableId::kOrders, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kOrderLine, ACL_SELECT | ACL_UPDATE}});
}

std::shared_ptr<Binding> OpenForFulfilling(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kOrders, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kOrderLine, ACL_SELECT | ACL_UPDATE}});
}

OrderChangeAnswer CancelOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget) {
    OrderChangeAnswer answer;
    answer.order = LockOrder(binding, request.order_id, budget);
    answer.redis = answer.order.grant.redis;
    IL_INJECT("cancel-locked");
    if (FindEarlierCancellation(binding, request, &answer)) {
        return Replayed(answer);
    }
    answer.units = ChooseUnits(request.choice, &answer.order);
    if (answer.units == 0) {
        if (!request.choice.lines && !AnyLine(answer.order, &OrderLine::cancelled)) {
            throw pg::SqlError(pg::kOrderNotCancellable,
                               "order \"" + answer.order.id.text + "\" has been fulfilled");
        }
        return Replayed(answer);
    }
    LockChosenLevels(binding, request, &answer, budget);
    IL_INJECT("cancel-writing");
    WriteCancellation(binding, request, &answer);
    IL_INJECT("cancel-written");
    return answer;
}

OrderChangeAnswer FulfilOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget) {
    OrderChangeAnswer answer;
    answer.order = LockOrder(binding, request.order_id, budget);
    answer.redis = answer.order.grant.redis;
    answer.units = ChooseUnits(request.choice, &answer.order);
    if (answer.units == 0) {
        if (!request.choice.lines && !AnyLine(answer.order, &OrderLine::fulfilled)) {
            throw pg::SqlError(pg::kOrderNotCancellable,
                               "order \"" + answer.order.id.text + "\" has been cancelled");
        }
        return Replayed(answer);
    }
    LockOrderRows(binding, answer.order, budget);
    Params params;
    AddChosenLines(answer.order, &params);
    for (OrderLine &line : answer.order.lines) {
        line.fulfilled += line.chosen;
    }
    answer.order.status = StatusOf(answer.order.lines);
    params.Text(answer.order.status);
    binding.Plan(PlanId::kWriteFulfilment, BuildWriteFulfilment).Run(params);
    return answer;
}

}  // namespace inventory_lock::commerce
