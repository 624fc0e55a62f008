// Cancelling orders: gives stock back exactly once, however often and concurrently it is asked.
//
// Runs in: backends. The truth is order_line.cancelled: what can be restored of a line is
// quantity − cancelled − fulfilled, read under the order's lock and again when its rows are locked.
// Locks are taken in the same order as by placing: the order's key, the stock keys, then rows
// (the order's, then the stock's). A request_key makes one cancellation of some lines repeatable.

#pragma once

#include "commerce/adjustment.hpp"
#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

// A line of an order and what happens to it.
struct OrderLine {
    int64 line_no = 0;
    std::string variant_id;
    std::string location_id;
    int64 quantity = 0;
    int64 cancelled = 0;
    int64 fulfilled = 0;
    int64 restored = 0;  // by this call

    int64 Remaining() const { return quantity - cancelled - fulfilled; }
};

struct CancellationRequest {
    std::string order_id;
    std::optional<std::vector<LineSelector>> lines;  // nullopt: the whole order
    Occasion occasion;
    bool one_location = false;  // a selector by variant takes all from one location
};

struct CancellationAnswer {
    std::string order_id;
    std::string status;
    bool replayed = false;
    int64 restored = 0;  // units, over all lines
    std::vector<OrderLine> lines;
    uint64 fence = 0;  // the order lock's
    bool redis = true;
    std::vector<StockChange> changes;
    std::vector<WrittenChange> written;  // beside changes
};

// The binding for changes to orders that exist.
std::shared_ptr<Binding> OpenForCancelling(const std::string &binding);

// Throws IL040, IL041, IL042 and what locking throws.
CancellationAnswer CancelOrder(Binding &binding, const CancellationRequest &request,
                               locking::WaitBudget &budget);

// An order's lines, as they are now; nullopt when the id is none of the orders table's.
std::optional<std::vector<OrderLine>> FindOrderLines(Binding &binding, const std::string &order_id);

}  // namespace inventory_lock::commerce
