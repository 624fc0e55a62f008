// The function that makes a shop's own orders, for a binding that names one.
//
// Runs in: backends. place_order_locked calls it when all locks are held, the rows locked and every
// line checked, before anything of ours is written, and in the same transaction: what it writes and
// what we write come to be together or not at all. Its answer is the order's id. The tables
// beside the stock table remember the request under that id, so that it is called once per
// idempotency key, and what of each line can still be cancelled. It runs with the caller's
// rights. It must not change stock: the lines have been checked already.

#pragma once

#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

// How a binding names a function: qualified, with the types of its arguments. 22023 unless it takes
// (text, text, jsonb, jsonb) and returns one value.
std::string NameOfOrderWriter(Oid function);

// The same for messages and calls: without the types.
std::string OrderWriterText(const std::string &name);

// False when there is no such function any more.
bool OrderWriterExists(const std::string &name);

// Raises IL051 when the binding's function is gone, 42501 when the caller may not call it. For a
// binding without one it does nothing. Call it before anything is locked.
void CheckOrderWriter(const Binding &binding);

// Makes the order and returns its id. `lines` is JSON: what each line gets, and from where. Throws
// whatever the function raises, 22004 when it returns NULL or an empty text.
std::string WriteOwnOrder(Binding &binding, const OrderRequest &request, const std::string &lines);

}  // namespace inventory_lock::commerce
