// Orders that exist: their lines, and the choice of units in them.
//
// Runs in: backends. What can still be cancelled or fulfilled of a line is quantity − cancelled −
// fulfilled, read under the order's lock and compared when its rows are locked. Whoever changes
// lines takes the order's key first (LockOrder), then, if stock changes too, the stock's keys, then
// the rows.

#pragma once

#include "commerce/order_request.hpp"
#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// A line of an order and what happens to it.
struct OrderLine {
    int64 line_no = 0;
    std::string variant_id;
    std::string location_id;
    int64 quantity = 0;
    int64 cancelled = 0;
    int64 fulfilled = 0;
    int64 returned = 0;
    int64 chosen = 0;  // units that this call cancels, fulfils or takes back

    int64 Remaining() const { return quantity - cancelled - fulfilled; }
    int64 Returnable() const { return fulfilled - returned; }
};

struct Order {
    Id id;
    std::string user_id;
    std::string idempotency_key;
    std::string status;
    locking::Grant grant;  // of the order's lock
    std::vector<OrderLine> lines;
};

// Which units of an order are meant.
struct UnitChoice {
    std::optional<std::vector<LineSelector>> lines;  // nullopt: all that is left
    bool one_location = false;  // a selector by variant takes all from one location
    // Of a line: what there is to choose from.
    int64 (OrderLine::*open)() const = &OrderLine::Remaining;
};

// Takes the order's lock and reads the order. Throws IL040, and IL041 for a rejected one.
Order LockOrder(Binding &binding, const std::string &order_id, locking::WaitBudget &budget);

// Sets `chosen` of the lines and returns the sum. Throws 22023 for a selector that matches no line,
// IL042 for one that wants more than is left.
int64 ChooseUnits(const UnitChoice &choice, Order *order);

// Locks the rows of the order and its lines; 40001 when they are not as they were read.
void LockOrderRows(Binding &binding, const Order &order, locking::WaitBudget &budget);

// An order's lines, as they are now; nullopt when the id is none of the orders table's.
std::optional<std::vector<OrderLine>> FindOrderLines(Binding &binding, const std::string &order_id);

// The status that an order with these lines has.
const char *StatusOf(const std::vector<OrderLine> &lines);

Oid OrderIdType(const Binding &binding);

}  // namespace inventory_lock::commerce
