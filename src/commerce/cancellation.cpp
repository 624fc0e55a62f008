// Cancels orders: see cancellation.hpp.

#include "commerce/cancellation.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

struct OrderHead {
    Id id;
    std::string user_id;
    std::string idempotency_key;
    std::string status;
};

Oid OrderIdType(const Binding &binding) {
    return binding.column(TableId::kOrders, "order_id").type;
}

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
               " (s.{order_line.fulfilled})::pg_catalog.int8"
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

constexpr const char *kWriteParameters =
    ", line AS (UPDATE {order_line} s SET {order_line.cancelled} ="
    " s.{order_line.cancelled}{+}u.quantity FROM ROWS FROM (pg_catalog.unnest($12),"
    " pg_catalog.unnest($13)) AS u (line_no, quantity)"
    " WHERE s.{order_line.order_id}{=}$11 AND s.{order_line.line_no}{=}u.line_no),"
    " head AS (UPDATE {orders} s SET {orders.status} = $14 WHERE s.{orders.order_id}{=}$11)"
    " SELECT l.on_hand, l.version, (SELECT pg_catalog.max(m.movement_id) FROM movement m)"
    " FROM level l ORDER BY l.n";

std::unique_ptr<Statement> BuildWriteCancellation(const Binding &binding) {
    const std::string sql =
        "WITH " + ChangeCtes(binding, "$11::pg_catalog.text", "$15{||}l.n::pg_catalog.text", "") +
        binding.Sql(kWriteParameters);
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> own_types = {OrderIdType(binding), INT8ARRAYOID, INT8ARRAYOID, TEXTOID,
                                        TEXTOID};
    types.insert(types.end(), own_types.begin(), own_types.end());
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildFindCancellation(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{movement.variant_id})::pg_catalog.text,"
                    " {s:movement.location_id|'main'}::pg_catalog.text,"
                    " (s.{movement.delta})::pg_catalog.int8"
                    " FROM {movement} s WHERE s.{movement.reference_type}{=}'order'"
                    " AND s.{movement.reference_id}{=}$1"
                    " AND pg_catalog.starts_with(s.{movement.request_key}, $2)"),
        std::vector<Oid>{binding.column(TableId::kMovement, "reference_id").type, TEXTOID});
}

std::string KeyPrefix(const OrderHead &order, const std::string &request_key) {
    return "cancel:" + order.id.text + ":" + request_key + ":";
}

pg::SqlError OrderNotFound(const std::string &order_id) {
    return pg::SqlError(pg::kOrderNotFound, "order \"" + order_id + "\" does not exist");
}

std::optional<OrderHead> FindOrder(Binding &binding, const std::string &order_id) {
    OrderHead order;
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
        lines.push_back(line);
    }
    return lines;
}

bool Matches(const LineSelector &selector, const OrderLine &line) {
    return (!selector.line_no || *selector.line_no == line.line_no) &&
           (!selector.variant_id || *selector.variant_id == line.variant_id) &&
           (!selector.location_id || *selector.location_id == line.location_id);
}

int64 LeftOf(const OrderLine &line) {
    return line.Remaining() - line.restored;
}

// The lowest location whose matching lines have as much left as the selector wants.
std::optional<std::string> LocationWithEnough(const LineSelector &selector,
                                              const std::vector<OrderLine> &lines) {
    std::map<std::string, int64> left;
    for (const OrderLine &line : lines) {
        if (Matches(selector, line)) {
            left[line.location_id] += LeftOf(line);
        }
    }
    for (const auto &[location, quantity] : left) {
        if (quantity >= selector.quantity.value_or(1)) {
            return location;
        }
    }
    return std::nullopt;
}

// Spreads one selector's quantity over the lines it matches.
void RestoreSelected(LineSelector selector, const CancellationRequest &request,
                     std::vector<OrderLine> *lines) {
    if (request.one_location && !selector.location_id) {
        selector.location_id = LocationWithEnough(selector, *lines);
    }
    bool matched = false;
    int64 left = 0;
    for (const OrderLine &line : *lines) {
        if (Matches(selector, line)) {
            matched = true;
            left += LeftOf(line);
        }
    }
    if (!matched) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           selector.path + " is not a line of order \"" + request.order_id + "\"");
    }
    int64 wanted = selector.quantity.value_or(left);
    if (wanted > left) {
        throw pg::SqlError(
            pg::kCancelQuantityExceedsRemaining,
            selector.quantity_path + " is more than is left to cancel",
            "Asked for " + std::to_string(wanted) + ", left are " + std::to_string(left) + ".");
    }
    for (OrderLine &line : *lines) {
        if (Matches(selector, line)) {
            const int64 part = std::min(wanted, LeftOf(line));
            line.restored += part;
            wanted -= part;
        }
    }
}

void PlanRestores(const CancellationRequest &request, std::vector<OrderLine> *lines) {
    if (!request.lines) {
        for (OrderLine &line : *lines) {
            line.restored = line.Remaining();
        }
        return;
    }
    for (const LineSelector &selector : *request.lines) {
        RestoreSelected(selector, request, lines);
    }
}

const char *StatusAfter(const std::vector<OrderLine> &lines) {
    int64 left = 0;
    int64 fulfilled = 0;
    int64 cancelled = 0;
    for (const OrderLine &line : lines) {
        left += line.Remaining() - line.restored;
        fulfilled += line.fulfilled;
        cancelled += line.cancelled + line.restored;
    }
    if (left == 0) {
        return fulfilled > 0 ? "fulfilled" : "cancelled";
    }
    return cancelled > 0 ? "partly_cancelled" : "placed";
}

// The changes of stock, one per level, in the order of locking.
std::vector<std::pair<StockNeed, int64>> RestoresByLevel(const Binding &binding,
                                                         const std::vector<OrderLine> &lines) {
    std::map<std::pair<std::string, std::string>, int64> sums;
    for (const OrderLine &line : lines) {
        if (line.restored > 0) {
            sums[{line.variant_id, line.location_id}] += line.restored;
        }
    }
    std::vector<std::pair<StockNeed, int64>> restores;
    for (const auto &[level, quantity] : sums) {
        restores.emplace_back(MakeNeed(binding, level.first, level.second), quantity);
    }
    std::sort(restores.begin(), restores.end(),
              [](const auto &a, const auto &b) { return a.first < b.first; });
    return restores;
}

// Locks the order's rows and makes sure that they are as they were read under the order's lock.
void LockLines(Binding &binding, const OrderHead &order, const std::vector<OrderLine> &planned,
               locking::WaitBudget &budget) {
    Params params;
    params.Value(order.id.value);
    const std::vector<OrderLine> locked = ReadLines(
        RunWaiting(binding.Plan(PlanId::kLockOrderLines, BuildLockLines), params, budget));
    bool same = locked.size() == planned.size();
    for (size_t i = 0; same && i < locked.size(); i++) {
        same = locked[i].line_no == planned[i].line_no &&
               locked[i].Remaining() == planned[i].Remaining() &&
               locked[i].cancelled == planned[i].cancelled;
    }
    if (!same) {
        throw pg::SqlError(
            ERRCODE_T_R_SERIALIZATION_FAILURE,
            "order \"" + order.id.text + "\" was changed by somebody without its lock", {},
            "Retry the transaction.");
    }
}

void WriteCancellation(Binding &binding, const OrderHead &order, const CancellationRequest &request,
                       CancellationAnswer *answer) {
    std::vector<int64> line_numbers;
    std::vector<int64> quantities;
    for (const OrderLine &line : answer->lines) {
        if (line.restored > 0) {
            line_numbers.push_back(line.line_no);
            quantities.push_back(line.restored);
        }
    }
    std::optional<std::string> key_prefix;
    if (request.occasion.request_key) {
        key_prefix = KeyPrefix(order, *request.occasion.request_key);
    }
    Params params = ChangeParams(binding, answer->changes, request.occasion);
    params.Value(order.id.value)
        .Int8Array(line_numbers)
        .Int8Array(quantities)
        .Text(answer->status)
        .Text(key_prefix);
    const Rows rows = binding.Plan(PlanId::kWriteCancellation, BuildWriteCancellation).Run(params);
    if (rows.size() != answer->changes.size()) {
        throw NotWritten(answer->changes.front().variant.text);
    }
    for (size_t i = 0; i < rows.size(); i++) {
        WrittenChange written;
        written.on_hand = rows.Int8(i, 0);
        written.version = rows.OptionalInt8(i, 1);
        written.movement_id = rows.Text(i, 2);
        answer->written.push_back(written);
    }
}

// What an earlier call with the same request_key restored, by line as far as lines can be told.
bool FindEarlierCancellation(Binding &binding, const OrderHead &order,
                             const CancellationRequest &request, CancellationAnswer *answer) {
    if (!request.occasion.request_key) {
        return false;
    }
    const Column &reference = binding.column(TableId::kMovement, "reference_id");
    Params params;
    params.Value(ParseId(reference, order.id.text, "order_id").value)
        .Text(KeyPrefix(order, *request.occasion.request_key));
    const Rows rows = binding.Plan(PlanId::kFindCancellation, BuildFindCancellation).Run(params);
    for (size_t i = 0; i < rows.size(); i++) {
        answer->restored += rows.Int8(i, 2);
    }
    return !rows.empty();
}

}  // namespace

std::shared_ptr<Binding> OpenForCancelling(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                 {TableId::kOrders, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kOrderLine, ACL_SELECT | ACL_UPDATE}});
}

CancellationAnswer CancelOrder(Binding &binding, const CancellationRequest &request,
                               locking::WaitBudget &budget) {
    auto order = FindOrder(binding, request.order_id);
    if (!order) {
        throw OrderNotFound(request.order_id);
    }
    CancellationAnswer answer;
    answer.order_id = order->id.text;
    const locking::Grant grant =
        locking::AcquireLocks({OrderLock(order->user_id, order->idempotency_key)}, budget)[0];
    answer.fence = grant.fence;
    answer.redis = grant.redis;
    order = FindOrder(binding, request.order_id);
    if (!order) {
        throw OrderNotFound(request.order_id);
    }
    answer.status = order->status;
    if (order->status == "rejected") {
        throw pg::SqlError(pg::kOrderNotCancellable, "order \"" + answer.order_id +
                                                         "\" has been rejected: it holds no stock");
    }
    Params params;
    params.Value(order->id.value);
    answer.lines = ReadLines(binding.Plan(PlanId::kReadOrderLines, BuildReadLines).Run(params));
    if (FindEarlierCancellation(binding, *order, request, &answer)) {
        answer.replayed = true;
        FlushBehindFirstWriter();
        return answer;
    }
    PlanRestores(request, &answer.lines);
    for (const OrderLine &line : answer.lines) {
        answer.restored += line.restored;
    }
    if (answer.restored == 0) {
        const bool cancelled_before =
            std::any_of(answer.lines.begin(), answer.lines.end(),
                        [](const auto &line) { return line.cancelled > 0; });
        if (!request.lines && !cancelled_before) {
            throw pg::SqlError(pg::kOrderNotCancellable,
                               "order \"" + answer.order_id + "\" has been fulfilled");
        }
        answer.replayed = true;
        FlushBehindFirstWriter();
        return answer;
    }
    const auto restores = RestoresByLevel(binding, answer.lines);
    std::vector<StockNeed> needs;
    for (const auto &restore : restores) {
        needs.push_back(restore.first);
    }
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    LockLines(binding, *order, answer.lines, budget);
    const std::vector<std::vector<Level>> levels = LockLevels(binding, needs, budget);
    for (size_t i = 0; i < needs.size(); i++) {
        if (levels[i].empty()) {
            throw StockItemNotFound(needs[i]);
        }
        StockChange change;
        change.variant = needs[i].variant;
        change.level = levels[i][0];
        change.delta = restores[i].second;
        AddToStock(binding, change.level, change.delta);
        change.grant = locks.FenceFor(change.variant.text, change.level);
        answer.redis = answer.redis && change.grant.redis;
        answer.changes.push_back(change);
    }
    answer.status = StatusAfter(answer.lines);
    WriteCancellation(binding, *order, request, &answer);
    for (OrderLine &line : answer.lines) {
        line.cancelled += line.restored;
    }
    return answer;
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

}  // namespace inventory_lock::commerce
