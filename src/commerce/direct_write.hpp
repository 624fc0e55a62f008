// Writes changes of levels and their movements without plans (direct_table.hpp).
//
// Runs in: backends, while an SPI Session is open. For levels that were locked without a plan
// (direct_level.hpp), in tables as those of create_tables and many others: see there and in
// direct_table.hpp for what is asked of them. In any other case nothing is done, and the statements
// of movement.cpp have to be run.

#pragma once

#include "commerce/direct_table.hpp"
#include "commerce/movement.hpp"

namespace inventory_lock::commerce {

// Can the tables be written so by the caller?
bool CanWriteDirectly(Binding &binding);

// For several changes, one after the other: keeps the tables open in between. No statement must be
// run until LetTablesGo().
void KeepTablesOpen(Binding &binding);
void LetTablesGo(Binding &binding);

// Writes a change, if that can be done so. nullopt: nothing was written. Raises what the statements
// would raise.
std::optional<WrittenChange> WriteDirectly(Binding &binding, const StockChange &change,
                                           const Occasion &occasion);

}  // namespace inventory_lock::commerce
