// Which location serves which line of an order, and what is missing.
//
// Runs in: backends. Works on levels that are locked already; touches neither tables nor locks.
// Lines of one variant share its stock, however many lines there are.

#pragma once

#include "commerce/adjustment.hpp"
#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

// A variant (and location, when one was named) with the quantity all its lines want together.
struct Demand {
    StockNeed need;
    int64 quantity = 0;
};

struct Allocation {
    std::vector<std::string> locations;  // by demand: who serves it
    std::vector<StockChange> changes;    // one per level, in the order of locking; no fences yet
    std::vector<Shortage> shortages;
    std::vector<StockNeed> missing;  // variants without any level
};

// Sums the lines, which must be sorted, by need.
std::vector<Demand> SumDemands(const std::vector<RequestLine> &lines);

std::vector<StockNeed> NeedsOf(const std::vector<Demand> &demands);

// `levels` by demand, as LockLevels returns them.
Allocation Allocate(const std::vector<Demand> &demands,
                    const std::vector<std::vector<Level>> &levels);

}  // namespace inventory_lock::commerce
