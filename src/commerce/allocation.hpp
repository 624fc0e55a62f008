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

// What one location gives to a demand.
struct Part {
    std::string location;
    int64 quantity = 0;
};

struct Allocation {
    std::vector<std::vector<Part>> parts;  // by demand: who serves it; several only when split
    std::vector<StockChange> changes;      // one per level, in the order of locking; no fences yet
    std::vector<Shortage> shortages;
    bool short_of_stock = false;     // some demand is not served whole, be that a failure or not
    std::vector<StockNeed> missing;  // variants without any level
};

// Sums the lines, which must be sorted, by need.
std::vector<Demand> SumDemands(const std::vector<RequestLine> &lines);

std::vector<StockNeed> NeedsOf(const std::vector<Demand> &demands);

// What a demand gets that no location can serve whole.
enum class Shortfall : uint8 {
    kServeNothing,
    kServePart,  // what the rules can get; a shortage only if no demand gets anything
};

enum class Spread : uint8 {
    kSingle,  // a demand is served by one location
    kSplit,   // by one if any has it all, else by as few as possible
};

struct AllocationRules {
    Shortfall shortfall = Shortfall::kServeNothing;
    Spread spread = Spread::kSingle;
    // For demands that name no location: these alone, in this order. Empty: all.
    std::vector<std::string> locations;
};

// Units of levels that are held for the order itself, by variant and location.
using OwnHolds = std::map<std::pair<std::string, std::string>, int64>;

// `levels` by demand, as LockLevels returns them. Locations with units of the order's own come
// first.
Allocation Allocate(const std::vector<Demand> &demands,
                    const std::vector<std::vector<Level>> &levels, const OwnHolds &own,
                    const AllocationRules &rules);

// IL002 for all missing variants, else IL001 for all shortages, else nothing.
std::optional<pg::SqlError> FailureOf(const Allocation &allocation);

}  // namespace inventory_lock::commerce
