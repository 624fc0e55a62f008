// Counting; see counters.hpp. Runs in: every process.

#include "shared/counters.hpp"

#include "shared/state.hpp"

extern "C" {
#include <port/pg_bitutils.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::shared {

namespace {

// Every atomic of the counters, in order: they stand in one struct without gaps.
pg_atomic_uint64 *First(Counters *counters) {
    return &counters->by_kind[0][0];
}
constexpr Size kAtomics = offsetof(Counters, stats_reset) / sizeof(pg_atomic_uint64);

}  // namespace

void InitCounters(Counters *counters) {
    for (Size i = 0; i < kAtomics; i++) {
        pg_atomic_init_u64(First(counters) + i, 0);
    }
    pg_atomic_init_u64(&counters->stats_reset, static_cast<uint64>(GetCurrentTimestamp()));
}

void ResetCounters(Counters *counters) {
    for (Size i = 0; i < kAtomics; i++) {
        pg_atomic_write_u64(First(counters) + i, 0);
    }
    pg_atomic_write_u64(&counters->stats_reset, static_cast<uint64>(GetCurrentTimestamp()));
}

void Count(uint8 kind, Counter counter, uint64 n) {
    if (State *state = Get(); state != nullptr && kind < kKinds) {
        pg_atomic_fetch_add_u64(&state->counters.by_kind[kind][static_cast<int>(counter)],
                                static_cast<int64>(n));
    }
}

void Count(Total total, uint64 n) {
    if (State *state = Get(); state != nullptr) {
        pg_atomic_fetch_add_u64(&state->counters.totals[static_cast<int>(total)],
                                static_cast<int64>(n));
    }
}

void CountWait(uint8 kind, Wait wait, Ended ended, int64 us) {
    State *state = Get();
    if (state == nullptr || kind >= kKinds) {
        return;
    }
    const uint64 value = us > 0 ? static_cast<uint64>(us) : 0;
    const int bucket = value == 0 ? 0 : std::min(pg_leftmost_one_pos64(value) + 1, kBuckets - 1);
    const int w = static_cast<int>(wait);
    const int e = static_cast<int>(ended);
    pg_atomic_fetch_add_u64(&state->counters.waits[kind][w][e][bucket], 1);
    pg_atomic_fetch_add_u64(&state->counters.wait_sum_us[kind][w][e], static_cast<int64>(value));
}

}  // namespace inventory_lock::shared
