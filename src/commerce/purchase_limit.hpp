// How much of a variant one customer may buy: options.purchase_limit of an order.
//
// Runs in: backends. The limit counts what the customer's earlier orders in this binding still hold
// (quantity − cancelled) and what the new one asks for, by variant, over all locations. Counting
// and writing are one step for others, because all orders of one user that have a limit take the
// key lock:purchase_limit_<user_id> before they count, beside the order's own; an order without the
// option is not limited and is not held up, and counts for later ones. Counted is what is committed
// at that moment, at every isolation level: a snapshot from before the lock would miss the order
// before.

#pragma once

#include "commerce/allocation.hpp"

namespace inventory_lock::commerce {

// The lock behind which the user's orders are counted.
locking::LockRequest PurchaseLimitLock(const std::string &user_id);

// Nothing, or IL005 with every variant of which the user would have more than `limit`. The caller
// has the lock.
std::optional<pg::SqlError> OverPurchaseLimit(Binding &binding, const Id &user,
                                              const std::vector<Demand> &demands, int64 limit);

}  // namespace inventory_lock::commerce
