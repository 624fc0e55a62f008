// Gives back what an order took, one variant at a time: TakeBack() of adjustment.hpp.
//
// Two kinds of orders. One that place_order_locked wrote has lines, and they are the truth: taking
// back is cancelling a part of them. Any other order is known by the movements that carry its id
// as their reference; what they took and have not got back yet is what can be restored. The sum
// is read under the variant's lock, which everybody needs who writes such a movement.

#include "commerce/cancellation.hpp"
#include "commerce/level_rows.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kOrderReference = "order";

std::unique_ptr<Statement> BuildFindSales(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT {s:movement.location_id|'main'}::pg_catalog.text AS location_id,"
                    " pg_catalog.sum(s.{movement.delta})::pg_catalog.int8"
                    " FROM {movement} s WHERE s.{movement.reference_type}{=}'order'"
                    " AND s.{movement.reference_id}{=}$1 AND s.{movement.variant_id}{=}$2"
                    " GROUP BY 1 ORDER BY {s:movement.location_id|'main'}::pg_catalog.text"),
        std::vector<Oid>{binding.column(TableId::kMovement, "reference_id").type,
                         binding.column(TableId::kMovement, "variant_id").type});
}

// What an order still holds of a variant, by location.
using Holdings = std::map<std::string, int64>;

Holdings FindHoldings(Binding &binding, const StockNeed &need, const std::string &order_id) {
    const Column &reference = binding.column(TableId::kMovement, "reference_id");
    const Column &variant = binding.column(TableId::kMovement, "variant_id");
    Params params;
    params.Value(ParseId(reference, order_id, "order_id").value)
        .Value(ParseId(variant, need.variant.text, "variant_id").value);
    const Rows rows = binding.Plan(PlanId::kFindSales, BuildFindSales).Run(params);
    Holdings holdings;
    for (size_t i = 0; i < rows.size(); i++) {
        holdings[rows.Text(i, 0)] = -rows.Int8(i, 1);
    }
    return holdings;
}

pg::SqlError MoreThanHeld(const std::string &order_id, int64 quantity, int64 held) {
    return pg::SqlError(pg::kCancelQuantityExceedsRemaining,
                        "order \"" + order_id + "\" holds less than is to be restored",
                        "Asked for " + std::to_string(quantity) + ", left are " +
                            std::to_string(std::max<int64>(0, held)) + ".");
}

// The location that gets the stock back: the caller's, else the lowest one that gave enough.
std::string LocationToRestore(const StockNeed &need, const Holdings &holdings, int64 quantity,
                              const std::string &order_id) {
    if (holdings.empty()) {
        throw pg::SqlError(
            pg::kOrderNotFound,
            "order \"" + order_id + "\" has no sale of variant \"" + need.variant.text + "\"");
    }
    int64 held = 0;
    for (const auto &holding : holdings) {
        held += holding.second;
    }
    if (held < quantity) {
        throw MoreThanHeld(order_id, quantity, held);
    }
    if (need.location) {
        return need.location->text;
    }
    int64 most = 0;
    for (const auto &[location, quantity_held] : holdings) {
        if (quantity_held >= quantity) {
            return location;
        }
        most = std::max(most, quantity_held);
    }
    throw MoreThanHeld(order_id, quantity, most);
}

AdjustmentResult TakeBackByMovements(Binding &binding, const Adjustment &adjustment,
                                     const std::string &order_id, locking::WaitBudget &budget) {
    // All locations of the variant: which one gets the stock is known under the lock only.
    const std::vector<StockNeed> needs = {MakeNeed(binding, adjustment.variant_id, std::nullopt)};
    const StockNeed wanted = MakeNeed(binding, adjustment.variant_id, adjustment.location_id);
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    const std::vector<Level> levels = LockLevels(binding, needs, budget)[0];
    const std::string location = LocationToRestore(wanted, FindHoldings(binding, wanted, order_id),
                                                   adjustment.delta, order_id);
    const auto level = std::find_if(levels.begin(), levels.end(), [&](const Level &candidate) {
        return candidate.location == location;
    });
    if (level == levels.end()) {
        throw StockItemNotFound(wanted);
    }
    StockChange change;
    change.variant = wanted.variant;
    change.level = *level;
    change.delta = adjustment.delta;
    AddToStock(binding, change.level, change.delta);
    change.grant = locks.FenceFor(change.variant.text, change.level);
    return DescribeChange(change, WriteChange(binding, change, adjustment.occasion));
}

}  // namespace

std::shared_ptr<Binding> OpenForTakingBack(const std::string &binding) {
    return Binding::Resolve(binding)->has(TableId::kOrders) ? OpenForCancelling(binding)
                                                            : OpenForStock(binding);
}

AdjustmentResult TakeBack(Binding &binding, const Adjustment &adjustment,
                          const std::string &order_id, locking::WaitBudget &budget) {
    Adjustment taken_back = adjustment;
    taken_back.occasion.reference_type = kOrderReference;
    taken_back.occasion.reference_id = order_id;
    const StockNeed wanted = MakeNeed(binding, adjustment.variant_id, adjustment.location_id);
    if (binding.has(TableId::kOrders)) {
        const auto lines = FindOrderLines(binding, order_id);
        const bool sold = lines && std::any_of(lines->begin(), lines->end(), [&](const auto &line) {
                              return line.variant_id == wanted.variant.text;
                          });
        if (sold) {
            OrderChangeRequest request;
            request.order_id = order_id;
            LineSelector selector;
            selector.variant_id = wanted.variant.text;
            selector.location_id = adjustment.location_id;
            selector.quantity = adjustment.delta;
            selector.path = "variant \"" + wanted.variant.text + "\"";
            selector.quantity_path = "argument \"quantity\"";
            request.choice.lines = std::vector<LineSelector>{selector};
            request.occasion = taken_back.occasion;
            request.choice.one_location = true;
            const OrderChangeAnswer answer = CancelOrder(binding, request, budget);
            return DescribeChange(answer.changes.at(0), answer.written.at(0));
        }
    }
    return TakeBackByMovements(binding, taken_back, order_id, budget);
}

}  // namespace inventory_lock::commerce
