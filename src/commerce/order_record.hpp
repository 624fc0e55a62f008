// An order as it is written: its row, its lines, the stock's changes and the end of the hold it
// uses. Row by row where the tables are plain (direct_order.hpp, direct_write.hpp), else in one
// statement.
//
// Runs in: backends, under the order's lock and those of its stock. Also reads an answer back from
// the form in which the order's row keeps it.

#pragma once

#include "commerce/orders.hpp"
#include "commerce/reservations.hpp"

namespace inventory_lock::commerce {

// What there is to write: a placed order, or a rejected one without lines and changes.
struct OrderRecord {
    const char *status = "placed";
    std::optional<std::string> order_id;  // what the order writer has given it
    std::string response;                 // JSON, without the order's id
    std::vector<std::string> locations;   // by line
    std::vector<StockChange> changes;
    std::optional<Hold> hold;  // with what is confirmed of each line
};

// Writes all of it. Throws IL020 when somebody who has no lock was faster, IL051 when a trigger or
// a policy of the tables kept a level from being written.
OrderAnswer WriteOrder(Binding &binding, const OrderRequest &request, const Id &user,
                       const OrderRecord &record);

// An answer from its stored form, a jsonb.
OrderAnswer FromResponse(const std::string &order_id, Datum stored);

}  // namespace inventory_lock::commerce
