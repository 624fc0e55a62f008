// Stock levels under lock: which keys protect them, their rows, and how they change.
//
// Runs in: backends. The order of locking within one call, everywhere in commerce/:
//
//   order key → products' keys → stock keys (sorted bytewise, all or nothing) → stock rows in the
//   same order
//
// StockLocks takes the keys, LockLevels (level_rows.hpp) the rows. Whoever changes a row has both,
// and writes the fence that FenceFor() gives, which is always above the one in the row.

#pragma once

#include "commerce/binding.hpp"
#include "commerce/sql_text.hpp"
#include "locking/locks.hpp"

extern "C" {
#include <storage/itemptr.h>
}

namespace inventory_lock::commerce {

// A table without locations has everything here.
inline constexpr const char *kMainLocation = "main";

// What a decrease must leave behind.
enum class Floor : uint8 {
    kPhysical,  // a correction: what is held for others, less the backorder limit
    kSale,      // a sale: the safety stock as well
};

// One version of a row.
struct RowVersion {
    ItemPointerData tid;
    TransactionId xmin;
    uint64 generation;  // of what was known of the table (Binding::generation)
};

// A stock level as its row had it when it was locked.
struct Level {
    std::string location;
    int64 on_hand = 0;
    int64 held = 0;
    int64 safety_stock = 0;
    int64 backorder_limit = 0;
    std::optional<int64> low_stock_threshold;
    std::optional<int64> version;
    uint64 fence = 0;
    std::string product;            // empty when it belongs to none
    std::optional<RowVersion> row;  // where it is, when it was found without a plan

    int64 Available() const;            // on_hand − held − safety_stock
    int64 Takeable(Floor floor) const;  // how much a decrease may take; below 0 when none
    const char *Status() const;         // in_stock, low_stock, out_of_stock
};

// A variant, and a location when the caller named one.
struct StockNeed {
    Id variant;
    std::optional<Id> location;

    // The order of locking.
    bool operator<(const StockNeed &other) const;
};

// Reads ids as the binding's columns have them. Throws 22023 for an id that no key can hold.
StockNeed MakeNeed(const Binding &binding, const std::string &variant,
                   const std::optional<std::string> &location);

// The locks on the stock of some variants.
class StockLocks final {
  public:
    // Takes the keys of all needs (sorted), with intents on their products, or raises. With row
    // level security, raises IL002 first for a variant of which the caller sees no row.
    static StockLocks Acquire(Binding &binding, const std::vector<StockNeed> &needs,
                              locking::WaitBudget &budget);

    // The same for a call that has something else to do meanwhile: takes the gates and has Redis
    // asked; AwaitAll() waits for it.
    // `with`: locks to take in the same request to Redis, before these.
    static StockLocks Ask(Binding &binding, const std::vector<StockNeed> &needs,
                          locking::WaitBudget &budget,
                          const std::vector<locking::LockRequest> &with = {});
    void AwaitAll(locking::WaitBudget &budget);

    // And for one that works its needs off in order: has the gates of all keys, and awaits the
    // locks of the needs [first, end) when it comes to them (locking::LockSequence).
    static StockLocks Begin(Binding &binding, const std::vector<StockNeed> &needs,
                            locking::WaitBudget &budget,
                            const std::vector<locking::LockRequest> &with = {});
    void Await(size_t first, size_t end, locking::WaitBudget &budget);

    // The fence to write into this row. The row must be locked.
    locking::Grant FenceFor(const std::string &variant, const Level &level);

  private:
    std::string KeyOf(const std::string &variant, const std::string &location) const;
    void FindKeys(Binding &binding, const std::vector<StockNeed> &needs);
    void AwaitIntents(locking::WaitBudget &budget);

    std::vector<locking::LockRequest> requests_;  // for the keys of the needs, one after the other
    std::vector<size_t> keys_end_;                // of each need, in requests_
    std::vector<locking::LockRequest> intents_;   // on products
    std::optional<locking::LockSequence> sequence_;
    bool per_location_ = false;
    bool products_in_redis_ = true;  // the products' keys are excluded there too
};

// on_hand + delta; throws IL003 when the column cannot hold it.
int64 AddToStock(const Binding &binding, const Level &level, int64 delta);
// The same; nullopt when it does not fit.
std::optional<int64> SumOfStock(const Binding &binding, const Level &level, int64 delta);

pg::SqlError StockItemNotFound(const StockNeed &need);

// The key of an order's creation, and its lock.
locking::LockRequest OrderLock(const std::string &user_id, const std::string &idempotency_key);

}  // namespace inventory_lock::commerce
