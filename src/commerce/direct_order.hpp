// Finds and writes orders and their lines without plans (direct_table.hpp).
//
// Runs in: backends, while an SPI Session is open. For tables as those of create_tables. In any
// other case nothing is done, and the statements have to be run.

#pragma once

#include "commerce/order_record.hpp"

namespace inventory_lock::commerce {

// Is there certainly no order with this key, for a statement that begins now? False when that is
// not known.
bool SurelyNoOrder(Binding &binding, const Id &user, const std::string &idempotency_key);

// Can orders and their lines be written so by the caller?
bool CanWriteOrdersDirectly(Binding &binding);

struct WrittenOrder {
    bool exists = false;  // there is an order with this key; the transaction has to end
    std::string order_id;
    std::optional<Datum> created_at;
};

// Writes an order and its lines, nothing else. `response`: a jsonb. nullopt: nothing was written.
std::optional<WrittenOrder> WriteOrderDirectly(Binding &binding, const OrderRequest &request,
                                               const Id &user, const OrderRecord &record,
                                               Datum response);

}  // namespace inventory_lock::commerce
