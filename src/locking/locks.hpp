// What the rest of the extension asks of locking: take keys, learn fences, ask again later.
//
// Runs in: backends, inside a transaction. One call takes all its keys or none: gates in sorted
// order, then one lease request, never anything else in between. A key lives until the end of the
// (sub)transaction that took it; there is no release function, because releasing early is the
// mistake this extension exists to remove. Every function here may raise (as a C++ exception that
// becomes an ERROR at the wall) and may wait, within the limit given, answering cancel and
// timeouts.

#pragma once

#include "pg/boundary.hpp"
#include "shared/lease_table.hpp"

namespace inventory_lock::locking {

enum class LockKind : uint8 { kInventory = 0, kOrder = 1, kCustom = 2 };
inline constexpr int kLockKinds = 3;

// How long one call may wait for gates, leases and rows together.
class WaitBudget final {
  public:
    // From the call's own `wait_timeout` argument (nullptr: the setting
    // inventory_lock.wait_timeout). Throws 22023 for a negative interval. Zero means: do not wait
    // at all.
    static WaitBudget From(const Interval *wait_timeout);
    static WaitBudget NoWait();
    static WaitBudget UntilRenewed();  // a renewal is answered within Redis' timeouts

    bool unlimited() const { return limit_us_ < 0; }
    bool no_wait() const { return limit_us_ == 0; }
    int64 LeftMs() const;     // what is left, rounded up, never below 0; INT64_MAX when unlimited
    double WaitedMs() const;  // time spent waiting for gates and leases so far
    void AddWaited(int64 us) { waited_us_ += us; }

  private:
    int64 limit_us_ = -1;
    int64 started_us_ = 0;
    int64 waited_us_ = 0;
};

// How a key is taken. A product's key is shared by the transactions that change its variants
// (kIntent) and taken alone by who locks the product (kExclusive, as all other keys are): the
// intention and exclusive modes of the literature.
using LockMode = shared::LeaseMode;

// One key to take. `key` is the exact Redis key (see lock_name.hpp, which builds and checks it).
struct LockRequest {
    std::string key;
    LockKind kind = LockKind::kInventory;
    int64 ttl_ms = 0;  // 0: the setting for the kind
    LockMode mode = LockMode::kExclusive;
};

// What a transaction got for one key.
struct Grant {
    uint64 fence = 0;
    bool redis = false;  // true: excluded through Redis too; false: database locks alone
};

// Takes all keys (duplicates are fine) or raises: IL010 (limit of the call), 55P03 (lock_timeout),
// 57014, 40P01, IL011, IL012, IL013, 53400, 25006. Keys the transaction already has are verified,
// not locked again, and an exclusive lock serves for an intent. Intents are taken before all
// others. 25001 for an exclusive lock on a key that the transaction has an intent on: two that
// wanted to go that way would wait for each other for ever.
std::vector<Grant> AcquireLocks(const std::vector<LockRequest> &requests, WaitBudget &budget);

// The same for a call that works many keys off one after the other: all gates are taken at once,
// and leases when they are awaited, in the order of locking. While the call is at work with those
// it has, the next ones are being asked for. Used within one call; what it has not awaited at the
// end, nobody has. A call from within (a trigger's) that locks takes what is outstanding first.
class LockSequence final {
  public:
    // Takes the gates. Raises as AcquireLocks().
    LockSequence(const std::vector<LockRequest> &requests, WaitBudget &budget);

    // Has Redis asked for the first leases, so that the caller can go on with what needs no lock.
    void AskAhead(const WaitBudget &budget);

    // Waits for one of the requested locks and all before it. Raises as AcquireLocks().
    Grant Await(const LockRequest &request, WaitBudget &budget);
    void AwaitAll(WaitBudget &budget);

  private:
    // The longest wait: for which key, and who had it. Only looked at for log_min_wait.
    struct LongestWait {
        double ms = 0;
        size_t hold = 0;     // number in the hold set
        std::string holder;  // "pid:1234", or the token in Redis of somebody elsewhere; "-" = not
                             // known

        void Note(double waited_ms, size_t number, const std::string &who);
    };

    void TakeGates(const std::vector<const LockRequest *> &sorted, WaitBudget &budget);
    void TakeLeasesOfNext(bool ask_ahead, WaitBudget &budget);
    void NoteLeaseWait(size_t first, size_t count, double waited_ms);
    void LogSlowWait(const WaitBudget &budget) const;

    size_t first_ = 0;  // holds of the set: those that are added here,
    size_t next_ = 0;   // those whose leases are still to be taken,
    size_t end_ = 0;    // and their end
    double gate_ms_ = 0;
    LongestWait longest_;
};

// The same for one key, without waiting: nullopt when somebody else has it.
std::optional<Grant> TryAcquireLock(const LockRequest &request);

// What the transaction has for a key; nullopt when it has no lock on it.
std::optional<Grant> HeldLock(const std::string &key);

// The row under this key carries `row_fence`. Returns the fence to write: ours if it is above the
// row's, else a raised one. IL011 when the lease turns out to be lost. The transaction must have
// the key. For database locks alone the raise is local and cannot fail.
Grant FenceAbove(const std::string &key, uint64 row_fence);

// Verifies every lease of the transaction; IL011 if one is lost. Cheap.
void CheckHolds();

}  // namespace inventory_lock::locking
