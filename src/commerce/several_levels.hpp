// Changes of several levels in one call: bulk adjustments and transfers between locations.
//
// Runs in: backends. A large change is worked off in parts of about a thousand levels: a part's
// rows are locked, looked at and written, with one statement each, while Redis is asked for the
// locks of the next. Gates are all taken first; a part's locks come before its rows, and both
// before those of the next part.

#pragma once

#include "commerce/adjustment.hpp"
#include "commerce/json.hpp"

namespace inventory_lock::commerce {

struct BulkItem {
    StockNeed need;
    int64 delta = 0;
    std::optional<int64> expected;
};

// What became of an item. A failed one (best effort) has an SQLSTATE and no quantities.
struct BulkOutcome {
    std::string variant_id;
    std::optional<std::string> location_id;
    int64 delta = 0;
    std::optional<int64> quantity_before;
    std::optional<int64> quantity_after;
    std::optional<locking::Grant> grant;
    std::optional<std::string> sqlstate;
    std::optional<std::string> message;
};

enum class BulkPolicy : uint8 { kAllOrNothing, kBestEffort };

// [{"variant_id": …, "delta": n, "location_id": …, "expected": n}, …]; 22023, 22004, IL003.
std::vector<BulkItem> ReadBulkItems(const Binding &binding, const Json &items);

// Applies the items in their order; those of one level become one movement. With kAllOrNothing the
// first failure is raised, but shortages all together.
std::vector<BulkOutcome> AdjustBulk(Binding &binding, const std::vector<BulkItem> &items,
                                    BulkPolicy policy, const Occasion &occasion,
                                    locking::WaitBudget &budget);

struct Transfer {
    std::string variant_id;
    int64 quantity = 0;
    std::string from_location;
    std::string to_location;
    Occasion occasion;
};

// Moves units between two locations of a variant: what goes out, what comes in.
std::vector<AdjustmentResult> TransferStock(Binding &binding, const Transfer &transfer,
                                            locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
