// The summary line; see summary.hpp. Runs in: the worker.

#include "worker/summary.hpp"

#include "pg/boundary.hpp"
#include "pg/settings.hpp"

namespace inventory_lock::worker {

namespace {

constexpr int64 kUsPerMs = 1000;

uint64 Of(shared::Counter counter) {
    uint64 sum = 0;
    for (auto &kind : shared::Get()->counters.by_kind) {
        sum += pg_atomic_read_u64(&kind[static_cast<int>(counter)]);
    }
    return sum;
}

void Histogram(shared::Wait wait, uint64 (&buckets)[shared::kBuckets]) {
    for (auto &kind : shared::Get()->counters.waits) {
        for (auto &ended : kind[static_cast<int>(wait)]) {
            for (int bucket = 0; bucket < shared::kBuckets; bucket++) {
                buckets[bucket] += pg_atomic_read_u64(&ended[bucket]);
            }
        }
    }
}

// Milliseconds that 99 of 100 waits between the two stayed below; 0 when there was none. Counters
// that were reset in between count from zero.
double P99Ms(const uint64 (&now)[shared::kBuckets], const uint64 (&then)[shared::kBuckets]) {
    uint64 total = 0;
    for (int bucket = 0; bucket < shared::kBuckets; bucket++) {
        total += now[bucket] >= then[bucket] ? now[bucket] - then[bucket] : now[bucket];
    }
    uint64 below = 0;
    for (int bucket = 0; bucket < shared::kBuckets && total > 0; bucket++) {
        below += now[bucket] >= then[bucket] ? now[bucket] - then[bucket] : now[bucket];
        if (below * 100 >= total * 99) {
            return static_cast<double>(int64{1} << bucket) / kUsPerMs;
        }
    }
    return 0;
}

unsigned long long Since(uint64 now, uint64 then) {
    return now >= then ? now - then : now;
}

}  // namespace

Summary::Figures Summary::Now() {
    Figures figures;
    figures.handed_over = Of(shared::Counter::kHandedOver);
    figures.degraded = Of(shared::Counter::kDegraded);
    figures.got = Of(shared::Counter::kAcquired) + Of(shared::Counter::kWarm) +
                  figures.handed_over + figures.degraded;
    figures.timed_out = Of(shared::Counter::kTimedOut);
    figures.cancelled = Of(shared::Counter::kCancelled);
    figures.refused = Of(shared::Counter::kRefused) + Of(shared::Counter::kUnavailable);
    figures.lost = Of(shared::Counter::kLost);
    pg_atomic_uint64 *totals = shared::Get()->counters.totals;
    figures.commands = pg_atomic_read_u64(&totals[static_cast<int>(shared::Total::kCommands)]);
    for (int i = static_cast<int>(shared::Total::kErrorsFirst);
         i < static_cast<int>(shared::Total::kCount); i++) {
        figures.errors += pg_atomic_read_u64(&totals[i]);
    }
    Histogram(shared::Wait::kLease, figures.lease_waits);
    Histogram(shared::Wait::kGate, figures.gate_waits);
    return figures;
}

void Summary::Write(const Figures &now, int64 elapsed_us) const {
    shared::LeaseTable *leases = shared::Leases();
    SpinLockAcquire(&leases->free_mutex);
    const int32 used = leases->used;
    SpinLockRelease(&leases->free_mutex);
    const bool open = pg_atomic_read_u32(&shared::Get()->breaker.state) != 0;
    const double seconds = static_cast<double>(elapsed_us) / 1e6;
    const double gate_ms = P99Ms(now.gate_waits, last_.gate_waits);
    const double lease_ms = P99Ms(now.lease_waits, last_.lease_waits);
    pg::Call([&] {
        ereport(
            LOG,
            (errmsg("inventory locks: seconds=%.1f got=%llu handed_over=%llu degraded=%llu "
                    "timed_out=%llu cancelled=%llu refused=%llu lost=%llu redis_commands=%llu "
                    "redis_errors=%llu gate_p99_ms=%g lease_p99_ms=%g leases=%d/%d breaker=%s",
                    seconds, Since(now.got, last_.got), Since(now.handed_over, last_.handed_over),
                    Since(now.degraded, last_.degraded), Since(now.timed_out, last_.timed_out),
                    Since(now.cancelled, last_.cancelled), Since(now.refused, last_.refused),
                    Since(now.lost, last_.lost), Since(now.commands, last_.commands),
                    Since(now.errors, last_.errors), gate_ms, lease_ms, used, leases->capacity,
                    open ? "open" : "closed")));
    });
}

int64 Summary::WriteIfDue(int64 now_us) {
    const int64 interval_us = pg::settings::log_stats_interval_ms * kUsPerMs;
    if (interval_us == 0) {
        last_us_ = 0;
        return INT64_MAX;
    }
    if (last_us_ == 0) {  // just switched on
        last_ = Now();
        last_us_ = now_us;
    } else if (now_us >= last_us_ + interval_us) {
        const Figures now = Now();
        Write(now, now_us - last_us_);
        last_ = now;
        last_us_ = now_us;
    }
    return last_us_ + interval_us;
}

}  // namespace inventory_lock::worker
