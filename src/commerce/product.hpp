// Products: whoever changes a variant's stock has an intent on its product's key, so that
// acquire_product_lock() keeps all changes of the product's variants out, and these do not keep
// each other out.
//
// Runs in: backends. The row says which product a variant belongs to, but the product's key comes
// before the variant's own in the order of locking. So the product is looked up first, and
// remembered: that is a guess. When the locked row names another product, the intent on it is taken
// late, behind the row lock: a change never goes without, only a deadlock with a holder of the
// product's lock is possible then (and found). Bindings without a product column pay nothing, nor
// do tables where ANALYZE has found no product; otherwise a row without one costs a look per
// session.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// The lock requests for the products that the variants seem to belong to.
std::vector<locking::LockRequest> ProductIntents(Binding &binding,
                                                 const std::vector<StockNeed> &needs);

// Takes the intents on the products of locked rows that are still missing, and remembers these
// products. Raises as AcquireLocks.
void CoverProducts(Binding &binding, const std::vector<StockNeed> &needs,
                   const std::vector<std::vector<Level>> &levels, locking::WaitBudget &budget);

// The same for a key that was taken without its rows: looks up what they say now.
void CoverProducts(Binding &binding, const StockNeed &need, locking::WaitBudget &budget);

// The lock request of a whole product; its id as the binding's column has it. Throws IL051 when
// the stock level table has no product column, 22P02, 22023.
locking::LockRequest ProductLock(const Binding &binding, const std::string &product_id);

}  // namespace inventory_lock::commerce
