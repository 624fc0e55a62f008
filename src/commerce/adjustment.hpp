// One change of one variant's stock: adjust, sell, take back.
//
// Runs in: backends. Two statements on the way that most calls take: lock the row, write level and
// movement. A request_key adds a look before the locks (a repeated request is answered without
// any) and one behind them.

#pragma once

#include "commerce/movement.hpp"

namespace inventory_lock::commerce {

struct Adjustment {
    std::string variant_id;
    std::optional<std::string> location_id;
    int64 delta = 0;
    std::optional<int64> counted;  // the quantity to set, instead of a delta
    Floor floor = Floor::kPhysical;
    std::optional<int64> expected;
    Occasion occasion;
};

struct AdjustmentResult {
    std::string movement_id;
    std::string variant_id;
    std::string location_id;
    int64 delta = 0;
    // nullopt in a replayed answer whose movement does not tell.
    std::optional<int64> quantity_before;
    std::optional<int64> quantity_after;
    std::optional<int64> available;
    std::optional<std::string> stock_status;
    std::optional<int64> version;
    uint64 fence = 0;
    std::string protection;
    bool replayed = false;
};

// The binding for changes of stock, with everything checked that can be before a lock.
std::shared_ptr<Binding> OpenForStock(const std::string &binding);

// The same for taking back from an order: the orders are read, and changed when it is one of them.
std::shared_ptr<Binding> OpenForTakingBack(const std::string &binding);

AdjustmentResult AdjustStock(Binding &binding, const Adjustment &adjustment,
                             locking::WaitBudget &budget);

// Gives back what an order took. With an order of the bound orders table the order's lines say how
// much that can be, else the movements with its reference do. Throws IL040, IL042.
AdjustmentResult TakeBack(Binding &binding, const Adjustment &adjustment,
                          const std::string &order_id, locking::WaitBudget &budget);

// The answer to a request that has been applied before, looked up by the occasion's request_key.
// Throws IL021 when it was another request.
std::optional<AdjustmentResult> FindEarlierAnswer(Binding &binding, const Adjustment &adjustment,
                                                  const StockNeed &need);

// A replayed answer must not be told before it is durable. Somebody else's commit may be visible
// and not yet flushed; this writes a WAL record of our own, which puts our commit behind it.
void FlushBehindFirstWriter();

// The level that a decrease takes from, or an increase without location goes to; IL001, IL002.
const Level &ChooseLevel(const StockNeed &need, const std::vector<Level> &levels, int64 delta,
                         Floor floor);

// The result of a change that has been written.
AdjustmentResult DescribeChange(const StockChange &change, const WrittenChange &written);

// A line that cannot be served.
struct Shortage {
    StockNeed need;
    int64 requested = 0;
    int64 available = 0;
};

// IL001 with all of them in its DETAIL.
pg::SqlError InsufficientStock(const std::vector<Shortage> &shortages);

// Throws IL001 for changes that take more than there is, whoever holds it.
void RequireOnHand(const std::vector<StockChange> &changes);

}  // namespace inventory_lock::commerce
