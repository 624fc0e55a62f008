// Says in what a request differs from the one that used its idempotency key first.
//
// Runs in: backends, only to word an error. Compares with what was stored: the answer (its lines
// are the request's, merged) and the order's data.

#pragma once

#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

// One sentence per difference.
std::string DescribeDifference(const OrderRequest &request, const Json &stored_response,
                               const Json &stored_data);

}  // namespace inventory_lock::commerce
