// Reads orders and chooses units of them: see order_lines.hpp.

#include "commerce/order_lines.hpp"

#include "commerce/level_rows.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

std::unique_ptr<Statement> BuildFindOrder(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{orders.user_id})::pg_catalog.text,"
                    " (s.{orders.idempotency_key})::pg_catalog.text,"
                    " (s.{orders.status})::pg_catalog.text"
                    " FROM {orders} s WHERE s.{orders.order_id}{=}$1"),
        std::vector<Oid>{OrderIdType(binding)});
}

std::string SelectLines(const Binding &binding, const char *locking_clause) {
    return binding.Sql(
               "SELECT (s.{order_line.line_no})::pg_catalog.int8,"
               " (s.{order_line.variant_id})::pg_catalog.text,"
               " {s:order_line.location_id|'main'}::pg_catalog.text,"
               " (s.{order_line.quantity})::pg_catalog.int8,"
               " (s.{order_line.cancelled})::pg_catalog.int8,"
               " (s.{order_line.fulfilled})::pg_catalog.int8,"
               " {s:order_line.returned|0}::pg_catalog.int8"
               " FROM {orders} o JOIN {order_line} s"
               " ON s.{order_line.order_id}{=}o.{orders.order_id}"
               " WHERE o.{orders.order_id}{=}$1 ORDER BY s.{order_line.line_no}") +
           locking_clause;
}

std::unique_ptr<Statement> BuildReadLines(const Binding &binding) {
    return std::make_unique<Statement>(SelectLines(binding, ""),
                                       std::vector<Oid>{OrderIdType(binding)});
}

std::unique_ptr<Statement> BuildLockLines(const Binding &binding) {
    return std::make_unique<Statement>(SelectLines(binding, " FOR NO KEY UPDATE OF o, s"),
                                       std::vector<Oid>{OrderIdType(binding)});
}

pg::SqlError OrderNotFound(const std::string &order_id) {
    return pg::SqlError(pg::kOrderNotFound, "order \"" + order_id + "\" does not exist");
}

std::optional<Order> FindOrder(Binding &binding, const std::string &order_id) {
    Order order;
    order.id = ParseId(binding.column(TableId::kOrders, "order_id"), order_id, "order_id");
    Params params;
    params.Value(order.id.value);
    const Rows rows = binding.Plan(PlanId::kFindOrder, BuildFindOrder).Run(params);
    if (rows.empty()) {
        return std::nullopt;
    }
    order.user_id = rows.Text(0, 0);
    order.idempotency_key = rows.Text(0, 1);
    order.status = rows.Text(0, 2);
    return order;
}

std::vector<OrderLine> ReadLines(const Rows &rows) {
    std::vector<OrderLine> lines;
    for (size_t i = 0; i < rows.size(); i++) {
        OrderLine line;
        line.line_no = rows.Int8(i, 0);
        line.variant_id = rows.Text(i, 1);
        line.location_id = rows.Text(i, 2);
        line.quantity = rows.Int8(i, 3);
        line.cancelled = rows.Int8(i, 4);
        line.fulfilled = rows.Int8(i, 5);
        line.returned = rows.Int8(i, 6);
        lines.push_back(line);
    }
    return lines;
}

bool Matches(const LineSelector &selector, const OrderLine &line) {
    return (!selector.line_no || *selector.line_no == line.line_no) &&
           (!selector.variant_id || *selector.variant_id == line.variant_id) &&
           (!selector.location_id || *selector.location_id == line.location_id);
}

int64 LeftOf(const OrderLine &line, const UnitChoice &choice) {
    return (line.*choice.open)() - line.chosen;
}

// The lowest location whose matching lines have as much left as the selector wants; when none has,
// the one that has most.
std::optional<std::string> LocationWithEnough(const LineSelector &selector,
                                              const UnitChoice &choice,
                                              const std::vector<OrderLine> &lines) {
    std::map<std::string, int64> left;
    for (const OrderLine &line : lines) {
        if (Matches(selector, line)) {
            left[line.location_id] += LeftOf(line, choice);
        }
    }
    std::optional<std::string> fullest;
    for (const auto &[location, quantity] : left) {
        if (quantity >= selector.quantity.value_or(1)) {
            return location;
        }
        fullest = !fullest || quantity > left[*fullest] ? location : fullest;
    }
    return fullest;
}

// Spreads one selector's quantity over the lines it matches.
void ChooseSelected(LineSelector selector, const UnitChoice &choice, Order *order) {
    std::vector<OrderLine> *const lines = &order->lines;
    if (choice.one_location && !selector.location_id) {
        selector.location_id = LocationWithEnough(selector, choice, *lines);
    }
    bool matched = false;
    int64 left = 0;
    for (const OrderLine &line : *lines) {
        if (Matches(selector, line)) {
            matched = true;
            left += LeftOf(line, choice);
        }
    }
    if (!matched) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           selector.path + " is not a line of order \"" + order->id.text + "\"");
    }
    int64 wanted = selector.quantity.value_or(left);
    if (wanted > left) {
        throw pg::SqlError(
            pg::kCancelQuantityExceedsRemaining, selector.quantity_path + " is more than is left",
            "Asked for " + std::to_string(wanted) + ", left are " + std::to_string(left) + ".");
    }
    for (OrderLine &line : *lines) {
        if (Matches(selector, line)) {
            const int64 part = std::min(wanted, LeftOf(line, choice));
            line.chosen += part;
            wanted -= part;
        }
    }
}

}  // namespace

Oid OrderIdType(const Binding &binding) {
    return binding.column(TableId::kOrders, "order_id").type;
}

Order LockOrder(Binding &binding, const std::string &order_id, locking::WaitBudget &budget) {
    // The lock's name is in the row; what else is there may change until the lock is taken.
    auto order = FindOrder(binding, order_id);
    if (!order) {
        throw OrderNotFound(order_id);
    }
    const locking::Grant grant =
        locking::AcquireLocks({OrderLock(order->user_id, order->idempotency_key)}, budget)[0];
    order = FindOrder(binding, order_id);
    if (!order) {
        throw OrderNotFound(order_id);
    }
    order->grant = grant;
    if (order->status == "rejected") {
        throw pg::SqlError(pg::kOrderNotCancellable,
                           "order \"" + order->id.text + "\" has been rejected: it holds no stock");
    }
    Params params;
    params.Value(order->id.value);
    order->lines = ReadLines(binding.Plan(PlanId::kReadOrderLines, BuildReadLines).Run(params));
    return *order;
}

int64 ChooseUnits(const UnitChoice &choice, Order *order) {
    if (!choice.lines) {
        for (OrderLine &line : order->lines) {
            line.chosen = (line.*choice.open)();
        }
    } else {
        for (const LineSelector &selector : *choice.lines) {
            ChooseSelected(selector, choice, order);
        }
    }
    int64 chosen = 0;
    for (const OrderLine &line : order->lines) {
        chosen += line.chosen;
    }
    return chosen;
}

void LockOrderRows(Binding &binding, const Order &order, locking::WaitBudget &budget) {
    const std::vector<OrderLine> &planned = order.lines;
    Params params;
    params.Value(order.id.value);
    const std::vector<OrderLine> locked =
        ReadLines(LockRows(locking::LockKind::kOrder,
                           binding.Plan(PlanId::kLockOrderLines, BuildLockLines), params, budget));
    bool same = locked.size() == planned.size();
    for (size_t i = 0; same && i < locked.size(); i++) {
        same = locked[i].line_no == planned[i].line_no &&
               locked[i].Remaining() == planned[i].Remaining() &&
               locked[i].cancelled == planned[i].cancelled &&
               locked[i].returned == planned[i].returned;
    }
    if (!same) {
        throw pg::SqlError(
            ERRCODE_T_R_SERIALIZATION_FAILURE,
            "order \"" + order.id.text + "\" was changed by somebody without its lock", {},
            "Retry the transaction.");
    }
}

std::optional<std::vector<OrderLine>> FindOrderLines(Binding &binding,
                                                     const std::string &order_id) {
    const Column &column = binding.column(TableId::kOrders, "order_id");
    if (!CouldBeId(column, order_id)) {
        return std::nullopt;
    }
    Params params;
    params.Value(ParseId(column, order_id, "order_id").value);
    return ReadLines(binding.Plan(PlanId::kReadOrderLines, BuildReadLines).Run(params));
}

const char *StatusOf(const std::vector<OrderLine> &lines) {
    int64 left = 0;
    int64 fulfilled = 0;
    int64 cancelled = 0;
    for (const OrderLine &line : lines) {
        left += line.Remaining();
        fulfilled += line.fulfilled;
        cancelled += line.cancelled;
    }
    if (left == 0) {
        return fulfilled > 0 ? "fulfilled" : "cancelled";
    }
    return cancelled > 0 ? "partly_cancelled" : "placed";
}

}  // namespace inventory_lock::commerce
