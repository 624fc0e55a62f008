// What the row of a stock level does not have and side tables know: the units on hold, from the
// reservations, and the fence of the last change, from the ledger.
//
// Runs in: backends. Nothing is counted twice: a stock table without a column for `held` has its
// holds in the reservation table and nowhere else. Everybody who changes a level's holds or writes
// its movements has its row locked and updates it, so that what is read after locking the row, in a
// statement of its own, stays so; at the higher isolation levels the row's own change tells (40001)
// that the snapshot is too old.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// Fills in `held` and `fence` of these levels (by need), where the binding derives them.
void FillDerived(Binding &binding, const std::vector<StockNeed> &needs,
                 std::vector<std::vector<Level>> *levels);

}  // namespace inventory_lock::commerce
