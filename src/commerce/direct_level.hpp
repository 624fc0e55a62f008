// Finds and locks the rows of stock levels without the executor.
//
// Runs in: backends, while an SPI Session is open. What SELECT … FOR UPDATE by key does, less the
// start and the end of a plan, which cost more than the row. Only for the plain case: a table
// without children and row level security, a B-tree index that begins with the variant, columns of
// types that need no cast, for each need exactly one row that nobody has changed meanwhile. In any
// other case nothing is answered and the statement has to be run: it knows what to do, and what to
// raise.

#pragma once

#include "commerce/stock_level.hpp"
#include "locking/lock_timeout.hpp"

extern "C" {
#include <nodes/lockoptions.h>
}

namespace inventory_lock::commerce {

// For each need its only row.
using FoundLevels = std::optional<std::vector<std::vector<Level>>>;

// The rows of all needs, locked with `mode` until the transaction ends, one after the other; at
// READ COMMITTED as they were committed last. nullopt: run the statement. May raise 55P03, as the
// statement would.
FoundLevels LockDirectly(Binding &binding, const std::vector<StockNeed> &needs, LockTupleMode mode,
                         const locking::ScopedWaitLimit &limit);

// Locks rows that were found before, if they are still the same versions. False, and no more than
// some of them locked, when they are not. May raise 55P03.
bool LockIfUnchanged(const Binding &binding, const std::vector<std::vector<Level>> &levels,
                     LockTupleMode mode, const locking::ScopedWaitLimit &limit);

// The same rows as a statement that begins now would see them, not locked: Level::row says which
// versions those were.
FoundLevels ReadDirectly(Binding &binding, const std::vector<StockNeed> &needs);

}  // namespace inventory_lock::commerce
