// Finds and locks the row of one stock level without the executor.
//
// Runs in: backends, while an SPI Session is open. What SELECT … FOR UPDATE by key does, less the
// start and the end of a plan, which cost more than the row. Only for the plain case: a table
// without children and row level security, a B-tree index that begins with the variant, columns of
// types that need no cast, exactly one row that nobody has changed meanwhile. In any other case
// nothing is answered and the statement has to be run: it knows what to do, and what to raise.

#pragma once

#include "commerce/stock_level.hpp"

extern "C" {
#include <nodes/lockoptions.h>
}

namespace inventory_lock::commerce {

// The one row of a need, locked with `mode` until the transaction ends; at READ COMMITTED as it was
// committed last. nullopt: run the statement. May raise 55P03, as the statement would.
std::optional<Level> LockDirectly(Binding &binding, const StockNeed &need, LockTupleMode mode);

// Locks a row that was found before, if it is still the same version. False, and nothing locked,
// when it is not. May raise 55P03.
bool LockIfUnchanged(const Binding &binding, const RowVersion &version, LockTupleMode mode);

// The same row as a statement that begins now would see it, not locked: Level::row says which
// version that was.
std::optional<Level> ReadDirectly(Binding &binding, const StockNeed &need);

}  // namespace inventory_lock::commerce
