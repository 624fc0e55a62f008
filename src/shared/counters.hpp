// Counters that only grow, and histograms of waits.
//
// Runs in: every process, on shared memory. Relaxed atomic additions, read without a lock: a view
// may see one counter a moment older than another.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::shared {

inline constexpr int kKinds = 3;  // as locking::LockKind

// Per lock kind.
enum class Counter : uint8 {
    kAcquired = 0,  // first holds of a lease that Redis granted
    kHandedOver,    // taken over from another transaction of this cluster, no Redis trip
    kWarm,          // taken from an idle lease that lingered
    kDegraded,      // went on without Redis
    kTimedOut,      // gave up at the call's or lock_timeout's limit
    kCancelled,     // gave up by cancel, statement_timeout, deadlock or termination
    kBusy,          // refused at once (try, no wait)
    kRefused,       // too many waiters
    kUnavailable,   // refused because Redis does not answer (on_redis_failure = error)
    kLost,          // holds whose lease was lost
    kRaised,        // fences raised above a row's
    kCount
};

// Of the whole cluster.
enum class Total : uint8 {
    kRenewals = 0,  // keys extended
    kReasserted,    // leases that were in doubt and turned out to be still held
    kReleases,      // keys released
    kYields,        // keys given up at the end of a tenure
    kWokenByTracking,
    kWokenByPoll,
    kWokenByTimer,
    kCommands,  // sent to Redis on data connections
    kBreakerOpened,
    kOrphansFreed,
    kErrorsFirst,  // errors by redis::TroubleKind follow, kErrorsFirst + kind
    kCount = kErrorsFirst + 16
};

// What is waited for, and how long it is kept.
enum class Wait : uint8 { kGate = 0, kLease, kRow, kHold, kCount };
// How the wait ended.
enum class Ended : uint8 { kGot = 0, kTimedOut, kCancelled, kCount };

inline constexpr int kBuckets = 28;  // bucket b counts waits below 2^b µs; the last is open

struct Counters {
    pg_atomic_uint64 by_kind[kKinds][static_cast<int>(Counter::kCount)];
    pg_atomic_uint64 totals[static_cast<int>(Total::kCount)];
    pg_atomic_uint64 waits[kKinds][static_cast<int>(Wait::kCount)][static_cast<int>(Ended::kCount)]
                          [kBuckets];
    pg_atomic_uint64 wait_sum_us[kKinds][static_cast<int>(Wait::kCount)]
                                [static_cast<int>(Ended::kCount)];
    pg_atomic_uint64 stats_reset;  // TimestampTz
};

void InitCounters(Counters *counters);
void ResetCounters(Counters *counters);

// These do nothing without shared memory.
void Count(uint8 kind, Counter counter, uint64 n = 1);
void Count(Total total, uint64 n = 1);
void CountWait(uint8 kind, Wait wait, Ended ended, int64 us);

}  // namespace inventory_lock::shared
