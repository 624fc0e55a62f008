// Refusing what is sold out without a lock.
//
// Runs in: backends. A call for a variant that was lately found short (shared/sold_out.hpp) looks
// at the levels in a snapshot first. Too little there is too little: at READ COMMITTED the snapshot
// is as new as the statement, and a change that commits later could as well have come after the
// refusal. Levels with something held are not judged here, because what is held may have expired.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// The levels of the needs, unlocked, if one of them was lately short and they can be judged so.
std::optional<std::vector<std::vector<Level>>> PeekIfSoldOut(Binding &binding,
                                                             const std::vector<StockNeed> &needs);

// What was found: too little of these, or enough.
void RememberShort(const std::vector<StockNeed> &needs);
void RememberEnough(const std::vector<StockNeed> &needs);

}  // namespace inventory_lock::commerce
