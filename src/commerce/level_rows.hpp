// The rows of stock levels: locked, seen or read.
//
// Runs in: backends. By index and without plans where that can be (direct_level.hpp), else by
// statements. For the order of locking see stock_level.hpp.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// The rows of some needs as they were when nobody had locked them, one for each need.
using SeenLevels = std::optional<std::vector<std::vector<Level>>>;

// Looks the rows up, for a call that waits for its keys meanwhile. nullopt when a statement is
// needed for that, or a need has not just one row.
SeenLevels SeeLevels(Binding &binding, const std::vector<StockNeed> &needs);

// Locks the rows of all needs, which must be sorted: for each need its rows by location, bytewise.
// Whoever calls it has intents on the products of these rows afterwards. Rows that are still those
// that were `seen` are not looked up again.
std::vector<std::vector<Level>> LockLevels(Binding &binding, const std::vector<StockNeed> &needs,
                                           locking::WaitBudget &budget,
                                           const SeenLevels &seen = std::nullopt);

// The only row of a need, for a change that is written without locking it first, and only if this
// is its newest version (WriteIfUnchanged). nullptr when that cannot be done here; LockLevels then.
// Whoever calls it has an intent on the row's product afterwards.
const Level *OnlyLevelToWrite(Binding &binding, const StockNeed &need, const SeenLevels &seen,
                              locking::WaitBudget &budget);

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
