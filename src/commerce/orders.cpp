// Places orders: see orders.hpp for the steps.

#include "commerce/orders.hpp"

#include "commerce/allocation.hpp"
#include "commerce/direct_order.hpp"
#include "commerce/level_rows.hpp"
#include "commerce/order_difference.hpp"
#include "commerce/order_record.hpp"
#include "commerce/order_writer.hpp"
#include "commerce/purchase_limit.hpp"
#include "commerce/reservations.hpp"
#include "commerce/sold_out.hpp"
#include "pg/injection.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

Id UserId(const Binding &binding, const OrderRequest &request) {
    return ParseId(binding.column(TableId::kOrders, "user_id"), request.user_id, "user_id");
}

std::unique_ptr<Statement> BuildReadOrder(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{orders.order_id})::pg_catalog.text,"
                    " (s.{orders.request_fingerprint})::pg_catalog.text,"
                    " (s.{orders.response})::pg_catalog.jsonb,"
                    " (s.{orders.data})::pg_catalog.jsonb, "
                    "{s:orders.created_at|NULL}::pg_catalog.timestamptz"
                    " FROM {orders} s WHERE s.{orders.user_id}{=}$1"
                    " AND s.{orders.idempotency_key}{=}$2 FOR KEY SHARE"),
        std::vector<Oid>{binding.column(TableId::kOrders, "user_id").type, TEXTOID});
}

std::optional<OrderAnswer> Replay(Binding &binding, const OrderRequest &request, const Id &user,
                                  locking::WaitBudget &budget) {
    if (SurelyNoOrder(binding, user, request.idempotency_key)) {
        return std::nullopt;
    }
    Params params;
    params.Value(user.value).Text(request.idempotency_key);
    const Rows rows = LockRows(locking::LockKind::kOrder,
                               binding.Plan(PlanId::kReadOrder, BuildReadOrder), params, budget);
    if (rows.empty()) {
        return std::nullopt;
    }
    bool is_null;
    const Datum stored = rows.Value(0, 2, &is_null);
    if (is_null || rows.Text(0, 1) != request.Fingerprint()) {
        throw pg::SqlError(
            pg::kIdempotencyKeyReused,
            "idempotency_key \"" + request.idempotency_key + "\" has been used by another request",
            rows.IsNull(0, 1) || rows.IsNull(0, 2) || rows.IsNull(0, 3)
                ? "Its order was not written by place_order_locked."
                : DescribeDifference(request, ReadJson(stored),
                                     ReadJson(rows.Value(0, 3, &is_null))),
            "Use a new key for a new order.");
    }
    OrderAnswer answer = FromResponse(rows.Text(0, 0), stored);
    answer.replayed = true;
    IL_INJECT("order-replayed");
    const Datum created_at = rows.Value(0, 4, &is_null);
    if (!is_null) {
        answer.created_at = created_at;
    }
    return answer;
}

std::string Head(const char *status, const OrderRequest &request, const locking::Grant &grant,
                 bool redis) {
    return "{\"status\": " + JsonString(status) + ", \"total\": " + request.total.value_or("null") +
           ", \"currency\": " + JsonStringOrNull(request.currency) +
           ", \"fence\": " + std::to_string(grant.fence) + ", \"protection\": \"" +
           (redis ? "redis" : "database") + "\"";
}

std::string LineJson(const RequestLine &line, size_t line_no) {
    return "{\"line_no\": " + std::to_string(line_no) +
           ", \"variant_id\": " + JsonString(line.need.variant.text) +
           ", \"quantity\": " + std::to_string(line.quantity) +
           ", \"unit_price\": " + line.unit_price.value_or("null");
}

// What a partial order could not get; nothing when it got all.
std::string UnservedJson(const OrderRequest &request) {
    if (request.unserved.empty()) {
        return {};
    }
    std::string json = ", \"unserved\": [";
    for (const RequestLine &line : request.unserved) {
        const auto &location = line.need.location;
        json += json.back() == '[' ? "{" : ", {";
        json += "\"variant_id\": " + JsonString(line.need.variant.text) +
                ", \"location_id\": " + (location ? JsonString(location->text) : "null") +
                ", \"quantity\": " + std::to_string(line.quantity) +
                ", \"unit_price\": " + line.unit_price.value_or("null") + "}";
    }
    return json + "]";
}

OrderAnswer Reject(Binding &binding, const OrderRequest &request, const Id &user,
                   const locking::Grant &order_grant, const pg::SqlError &error) {
    OrderRecord record;
    record.status = "rejected";
    record.response = Head("rejected", request, order_grant, order_grant.redis) +
                      ", \"sqlstate\": " + JsonString(unpack_sql_state(error.sqlstate())) +
                      ", \"message\": " + JsonString(error.message()) +
                      ", \"detail\": " + (error.detail().empty() ? "null" : error.detail()) +
                      ", \"lines\": [";
    for (size_t i = 0; i < request.lines.size(); i++) {
        const auto &location = request.lines[i].need.location;
        record.response +=
            (i == 0 ? "" : ", ") + LineJson(request.lines[i], i + 1) +
            ", \"location_id\": " + (location ? JsonString(location->text) : "null") + "}";
    }
    record.response += "]}";
    return WriteOrder(binding, request, user, record);
}

// What an order's lines get: the lines as they are written, each with its location beside it.
struct ServedOrder {
    OrderRequest request;
    std::vector<std::string> locations;
};

// Lines and demands are in the same order; the lines of a demand share what it gets. A line that is
// split becomes several, one that gets nothing is no longer there.
ServedOrder ServedPart(const OrderRequest &request, const std::vector<Demand> &demands,
                       const Allocation &allocation) {
    ServedOrder served;
    served.request = request;
    served.request.lines.clear();
    std::vector<std::vector<Part>> parts = allocation.parts;
    size_t demand = 0;
    for (const RequestLine &line : request.lines) {
        while (demands[demand].need < line.need) {
            demand++;
        }
        RequestLine rest = line;
        for (Part &part : parts[demand]) {
            RequestLine piece = line;
            piece.quantity = std::min(rest.quantity, part.quantity);
            if (piece.quantity > 0) {
                rest.quantity -= piece.quantity;
                part.quantity -= piece.quantity;
                served.request.lines.push_back(piece);
                served.locations.push_back(part.location);
            }
        }
        if (rest.quantity > 0) {
            served.request.unserved.push_back(rest);
        }
    }
    served.request.total = TotalOf(served.request.lines);
    return served;
}

OrderRecord Describe(const ServedOrder &served, const Allocation &allocation,
                     const locking::Grant &order_grant) {
    const OrderRequest &request = served.request;
    OrderRecord record;
    record.changes = allocation.changes;
    record.locations = served.locations;
    std::map<std::pair<std::string, std::string>, const StockChange *> change_of;
    bool redis = order_grant.redis;
    for (const StockChange &change : record.changes) {
        redis = redis && change.grant.redis;
        change_of[{change.variant.text, change.level.location}] = &change;
    }
    record.response = Head("placed", request, order_grant, redis) + ", \"lines\": [";
    for (size_t i = 0; i < request.lines.size(); i++) {
        const RequestLine &line = request.lines[i];
        const StockChange &change = *change_of.at({line.need.variant.text, record.locations[i]});
        record.response +=
            (i == 0 ? "" : ", ") + LineJson(line, i + 1) +
            ", \"location_id\": " + JsonString(record.locations[i]) +
            ", \"on_hand_after\": " + std::to_string(change.level.on_hand + change.delta) +
            ", \"fence\": " + std::to_string(change.grant.fence) + ", \"protection\": \"" +
            ProtectionName(change.grant) + "\"}";
    }
    record.response += "]" + UnservedJson(request) + "}";
    return record;
}

bool SameNeed(const StockNeed &a, const StockNeed &b) {
    return !(a < b) && !(b < a);
}

// What the order and the hold it uses need, in the order of locking.
std::vector<StockNeed> AllNeeds(const Binding &binding, const std::vector<Demand> &demands,
                                const std::optional<Hold> &hold) {
    std::vector<StockNeed> needs = NeedsOf(demands);
    if (hold) {
        const std::vector<StockNeed> held = NeedsOf(binding, *hold);
        needs.insert(needs.end(), held.begin(), held.end());
        std::sort(needs.begin(), needs.end());
        needs.erase(std::unique(needs.begin(), needs.end(), SameNeed), needs.end());
    }
    return needs;
}

// The levels of each demand. Both lists are sorted, and every demand is among the needs.
std::vector<std::vector<Level>> LevelsOf(const std::vector<Demand> &demands,
                                         const std::vector<StockNeed> &needs,
                                         const std::vector<std::vector<Level>> &levels) {
    std::vector<std::vector<Level>> result;
    size_t need = 0;
    for (const Demand &demand : demands) {
        while (needs[need] < demand.need) {
            need++;
        }
        result.push_back(levels[need]);
    }
    return result;
}

std::vector<StockNeed> NeedsOf(const std::vector<Shortage> &shortages) {
    std::vector<StockNeed> needs;
    for (const Shortage &shortage : shortages) {
        needs.push_back(shortage.need);
    }
    return needs;
}

// IL001 for what was lately short and is so still, before any lock is taken.
std::optional<pg::SqlError> SoldOut(Binding &binding, const std::vector<Demand> &demands,
                                    const AllocationRules &rules) {
    const std::vector<StockNeed> needs = NeedsOf(demands);
    const auto levels = PeekIfSoldOut(binding, needs);
    if (!levels) {
        return std::nullopt;
    }
    const Allocation allocation =
        Allocate(demands, LevelsOf(demands, needs, *levels), OwnHolds(), rules);
    if (!allocation.missing.empty()) {
        return std::nullopt;  // not sold out: unknown, and for the call itself to say
    }
    auto failure = FailureOf(allocation);
    if (!failure) {
        RememberEnough(needs);
    }
    return failure;
}

// Ends a hold: all of it is no longer held, what the order takes of it is confirmed.
void UseHold(const std::vector<StockNeed> &needs, const std::vector<std::vector<Level>> &levels,
             Hold *hold, std::vector<StockChange> *changes) {
    for (size_t i = 0; i < needs.size(); i++) {
        for (const Level &level : levels[i]) {
            const std::string &variant = needs[i].variant.text;
            auto change = std::find_if(changes->begin(), changes->end(), [&](const auto &other) {
                return other.variant.text == variant && other.level.location == level.location;
            });
            int64 held = 0;
            int64 sold = change == changes->end() ? 0 : -change->delta;
            for (HoldLine &line : hold->lines) {
                if (line.variant_id == variant && line.location_id == level.location) {
                    held += line.quantity;
                    line.confirmed = std::min(sold, line.quantity);
                    sold -= line.confirmed;
                }
            }
            if (held == 0) {
                continue;
            }
            if (change == changes->end()) {
                StockChange release;
                release.variant = needs[i].variant;
                release.level = level;
                change = changes->insert(change, release);
            }
            change->held_delta = -held;
        }
    }
}

AllocationRules RulesOf(const Binding &binding, const OrderOptions &options) {
    AllocationRules rules;
    rules.shortfall = options.partial_available ? Shortfall::kServePart : Shortfall::kServeNothing;
    rules.spread = options.split ? Spread::kSplit : Spread::kSingle;
    for (const std::string &location : options.locations) {
        rules.locations.push_back(NormalId(binding, "location_id", location));
    }
    return rules;
}

// Throws 55000 when the order writer has changed stock that had been checked before. A location
// that is new is nobody's of this order.
void RequireUnchanged(const Binding &binding, const std::vector<std::vector<Level>> &checked,
                      const std::vector<std::vector<Level>> &now) {
    for (size_t i = 0; i < checked.size(); i++) {
        for (const Level &level : checked[i]) {
            const bool same = std::any_of(now[i].begin(), now[i].end(), [&](const Level &other) {
                return other.location == level.location && other.on_hand == level.on_hand &&
                       other.held == level.held;
            });
            if (!same) {
                throw pg::SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                                   "function " + OrderWriterText(binding.order_writer()) +
                                       " changed the stock of the order that it wrote",
                                   {}, "Leave the stock to place_order_locked.");
            }
        }
    }
}

// The locks on the request itself and on what the user may still buy, that can be waited for.
std::vector<locking::LockRequest> RequestLocks(const OrderRequest &request, const Id &user,
                                               const OrderOptions &options) {
    std::vector<locking::LockRequest> locks;
    if (!options.fail_on_conflict) {
        locks.push_back(OrderLock(user.text, request.idempotency_key));
    }
    if (options.purchase_limit) {
        locks.push_back(PurchaseLimitLock(user.text));
    }
    return locks;
}

// The lock on the request, that must be free now.
locking::Grant LockOrderOrFail(const OrderRequest &request, const Id &user) {
    const auto grant = locking::TryAcquireLock(OrderLock(user.text, request.idempotency_key));
    if (!grant) {
        throw pg::SqlError(
            pg::kIdempotencyRequestInProgress,
            "a request with idempotency_key \"" + request.idempotency_key + "\" is being processed",
            {}, "Retry later, or let options.on_conflict be \"wait\".");
    }
    return *grant;
}

// Takes the locks of the order and of its stock: with one request to Redis, unless the request's
// own lock must not be waited for, or a hold, which only that lock keeps in place, says what else
// is needed. While Redis is asked, the rows are looked up.
struct OrderLocks {
    locking::Grant order;
    std::optional<StockLocks> stock;
    SeenLevels seen;
};

OrderLocks LockOrder(Binding &binding, const OrderRequest &request, const Id &user,
                     const OrderOptions &options, const std::vector<Demand> &demands,
                     locking::WaitBudget &budget) {
    const std::vector<locking::LockRequest> waited_for = RequestLocks(request, user, options);
    OrderLocks locks;
    if (options.fail_on_conflict) {
        locking::AcquireLocks(waited_for, budget);
        locks.order = LockOrderOrFail(request, user);
    } else if (request.reservation_id) {
        locks.order = locking::AcquireLocks(waited_for, budget)[0];
    } else {
        const std::vector<StockNeed> needs = NeedsOf(demands);
        locks.stock = StockLocks::Ask(binding, needs, budget, waited_for);
        request.Fingerprint();
        locks.seen = SeeLevels(binding, needs);
        IL_INJECT("order-seen");
        locks.stock->AwaitAll(budget);
        locks.order = *locking::HeldLock(waited_for.front().key);
    }
    return locks;
}

}  // namespace

std::shared_ptr<Binding> OpenForOrders(const OrderOptions &options) {
    std::vector<Access> access = {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                  {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                  kEventAccess,
                                  {TableId::kOrders, ACL_SELECT | ACL_INSERT | ACL_UPDATE},
                                  {TableId::kOrderLine, ACL_SELECT | ACL_INSERT}};
    if (options.reservation_id) {
        access.push_back({TableId::kReservation, ACL_SELECT | ACL_UPDATE});
    }
    return OpenBinding(options.binding, access);
}

OrderAnswer PlaceOrder(Binding &binding, const OrderRequest &request, const OrderOptions &options,
                       locking::WaitBudget &budget) {
    CheckOrderWriter(binding);
    const Id user = UserId(binding, request);
    if (auto answer = Replay(binding, request, user, budget)) {
        return *answer;
    }
    const std::vector<Demand> demands = SumDemands(request.lines);
    const AllocationRules rules = RulesOf(binding, options);
    if (!options.record_failure && !options.partial_available && !request.reservation_id) {
        if (const auto failure = SoldOut(binding, demands, rules)) {
            // The last units may have gone to this very request, a moment ago.
            if (auto answer = Replay(binding, request, user, budget)) {
                return *answer;
            }
            throw *failure;
        }
    }
    OrderLocks order_locks = LockOrder(binding, request, user, options, demands, budget);
    const locking::Grant order_grant = order_locks.order;
    IL_INJECT("order-locked");
    if (auto answer = Replay(binding, request, user, budget)) {
        return *answer;
    }
    if (options.purchase_limit) {
        if (const auto over = OverPurchaseLimit(binding, user, demands, *options.purchase_limit)) {
            if (!options.record_failure) {
                throw *over;
            }
            return Reject(binding, request, user, order_grant, *over);
        }
    }
    std::optional<Hold> hold;
    if (request.reservation_id) {
        hold = ReadHold(binding, *request.reservation_id);
    }
    const std::vector<StockNeed> needs = AllNeeds(binding, demands, hold);
    StockLocks locks = order_locks.stock ? std::move(*order_locks.stock)
                                         : StockLocks::Acquire(binding, needs, budget);
    IL_INJECT("order-stock-locked");
    OwnHolds own;
    if (hold) {
        hold = LockHold(binding, *hold, budget);
        own = UnitsOf(*hold);
    }
    std::vector<std::vector<Level>> levels = LockLevels(binding, needs, budget, order_locks.seen);
    IL_INJECT("order-rows-locked");
    Allocation allocation = Allocate(demands, LevelsOf(demands, needs, levels), own, rules);
    if (allocation.short_of_stock && order_locks.seen) {  // a location may have come meanwhile
        levels = LockLevels(binding, needs, budget);
        allocation = Allocate(demands, LevelsOf(demands, needs, levels), own, rules);
    }
    if (allocation.short_of_stock && FreeExpiredHolds(binding, locks, needs, levels, hold)) {
        levels = LockLevels(binding, needs, budget);
        allocation = Allocate(demands, LevelsOf(demands, needs, levels), own, rules);
    }
    if (const auto failure = FailureOf(allocation)) {
        RememberShort(NeedsOf(allocation.shortages));
        if (!options.record_failure) {
            throw *failure;
        }
        return Reject(binding, request, user, order_grant, *failure);
    }
    if (hold) {
        UseHold(needs, levels, &*hold, &allocation.changes);
    }
    for (StockChange &change : allocation.changes) {
        AddToStock(binding, change.level, change.delta);
        change.grant = locks.FenceFor(change.variant.text, change.level);
    }
    const ServedOrder served = ServedPart(request, demands, allocation);
    OrderRecord record = Describe(served, allocation, order_grant);
    record.hold = hold;
    if (!binding.order_writer().empty()) {
        const Json response = ReadJson(MakeJsonb(record.response));
        record.order_id = WriteOwnOrder(binding, served.request, response.Find("lines")->Text());
        RequireUnchanged(binding, levels, PeekLevels(binding, needs));
    }
    return WriteOrder(binding, served.request, user, record);
}

}  // namespace inventory_lock::commerce
