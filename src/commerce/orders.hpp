// Placing orders: idempotent, all lines or none, every shortage at once.
//
// Runs in: backends. The steps of PlaceOrder, and what each protects:
//
//   replay        an order with this user and key is answered without any lock (its row is locked
//                 FOR KEY SHARE, so that the answer's commit flushes behind the first writer's)
//   order lock    nobody else processes this user's key
//   stock locks   all variants, sorted, all or nothing; in the same request to Redis where the
//                 order neither fails on a conflict nor uses a reservation, and then the rows are
//                 looked up while Redis is asked
//   replay        the look is repeated
//   limit         with options.purchase_limit: see purchase_limit.hpp
//   stock rows    in the same order
//   check         all lines; a failure is raised, or recorded as a rejected order
//   write         order, lines, levels and movements

#pragma once

#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

struct OrderAnswer {
    std::string order_id;
    std::string status;
    bool replayed = false;
    std::optional<std::string> total;  // numeric
    Datum lines = 0;                   // jsonb
    std::optional<int64> fence;
    std::string protection;
    std::optional<std::string> sqlstate;
    Datum response = 0;  // jsonb
    std::optional<Datum> created_at;
};

// The binding for orders, with everything checked that can be before a lock.
std::shared_ptr<Binding> OpenForOrders(const OrderOptions &options);

// Throws IL001, IL002, IL005 (unless they are to be recorded), IL020, IL021 and what locking
// throws.
OrderAnswer PlaceOrder(Binding &binding, const OrderRequest &request, const OrderOptions &options,
                       locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
