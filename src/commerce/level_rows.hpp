// The rows of stock levels: locked, seen or read.
//
// Runs in: backends. By index and without plans where that can be (direct_level.hpp), else by
// statements. For the order of locking see stock_level.hpp.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// Locks the rows of all needs, which must be sorted: for each need its rows by location, bytewise.
// Whoever calls it has intents on the products of these rows afterwards.
std::vector<std::vector<Level>> LockLevels(Binding &binding, const std::vector<StockNeed> &needs,
                                           locking::WaitBudget &budget);

// The only row of a need, not locked: for a change that is written only if this is its newest
// version (WriteIfUnchanged). nullopt when that cannot be done here; LockLevels then. Whoever calls
// it has an intent on the row's product afterwards, if it was found.
std::optional<Level> SeeLevel(Binding &binding, const StockNeed &need, locking::WaitBudget &budget);

// Runs what waits, without a statement, for a row that somebody else has locked, within what is
// left of the budget. Raises as LockRows does.
void WaitForRow(locking::LockKind kind, locking::WaitBudget &budget,
                const std::function<void()> &wait);

// The same rows without any lock, for answers that change nothing.
std::vector<std::vector<Level>> PeekLevels(Binding &binding, const std::vector<StockNeed> &needs);

// Runs a statement that locks rows, within what is left of the budget, and counts how long that
// took and how it ended under `kind`. Not only the waiting, for PostgreSQL does not tell it apart:
// a row that nobody has costs the time of one statement. Raises IL010 when the budget ends the
// wait, 55P03 when the caller's own lock_timeout does.
Rows LockRows(locking::LockKind kind, Statement &statement, const Params &params,
              locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
