// Cancelling and fulfilling orders. Cancelling gives stock back exactly once, however often and
// concurrently it is asked. Fulfilling is bookkeeping: the stock went when the order was placed.
//
// Runs in: backends. The truth is order_line.cancelled: what can be restored of a line is
// quantity − cancelled − fulfilled, read under the order's lock and again when its rows are locked.
// Locks are taken in the same order as by placing: the order's key, the stock keys, then rows
// (the order's, then the stock's). A request_key makes one cancellation of some lines repeatable.

#pragma once

#include "commerce/order_change.hpp"

namespace inventory_lock::commerce {

// The binding for changes to orders that exist.
std::shared_ptr<Binding> OpenForCancelling(const std::string &binding);
std::shared_ptr<Binding> OpenForFulfilling(const std::string &binding);

// Throws IL040, IL041, IL042 and what locking throws.
OrderChangeAnswer CancelOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget);

// The same without stock: what has been fulfilled cannot be cancelled any more.
OrderChangeAnswer FulfilOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
