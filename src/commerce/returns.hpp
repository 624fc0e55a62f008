// Returns: goods that come back after they have been shipped. They go back into stock, or, when
// they cannot be sold again, only into the books.
//
// Runs in: backends. The truth is order_line.returned: what can come back of a line is fulfilled −
// returned, read under the order's lock and again when its rows are locked. Each level concerned
// gets a movement of kind return, with a delta of 0 when the goods are not restocked, so that
// the ledger knows of all returns; and a request_key has a place to be kept in.

#pragma once

#include "commerce/order_change.hpp"

namespace inventory_lock::commerce {

// IL051 when the order lines have no column for what came back.
std::shared_ptr<Binding> OpenForReturning(const std::string &binding);

// Throws IL002 (no level there), IL040, IL041 (nothing has been fulfilled), IL042.
OrderChangeAnswer ReturnOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
