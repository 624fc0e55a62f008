// Everything of ours in shared memory, and how it gets there.
//
// Runs in: the postmaster makes it (also again after a crash); every process uses it. No pointers
// into one process's memory, no file descriptors, no std:: containers.

#pragma once

#include "pg/postgres.hpp"
#include "shared/counters.hpp"
#include "shared/foreign_locks.hpp"
#include "shared/key_sketch.hpp"
#include "shared/lease_table.hpp"
#include "shared/slot.hpp"
#include "shared/sold_out.hpp"

namespace inventory_lock::shared {

inline constexpr int kMaxLanes = 16;
inline constexpr size_t kIdBytes = 20;  // hexadecimal instance and boot ids, zero-terminated

enum class BreakerState : uint32 { kClosed = 0, kOpen, kHalfOpen };

// One connection pair to Redis, for redis_status; written by the worker under `mutex` of Worker.
struct LaneReport {
    int64 client_id;
    int32 state;    // redis::LaneState
    int32 trouble;  // redis::TroubleKind
    int64 rtt_us;   // -1 = unknown
    TimestampTz since;
    bool tracking;
    bool barrier;
    char last_error[160];
};

struct Worker {
    // Process number of the running worker, or -1. A stale one costs a spurious wake-up at most:
    // PGPROCs are never freed.
    pg_atomic_uint32 procno;
    pg_atomic_uint32 pid;
    pg_atomic_uint64 incarnation;   // grows with every start of a worker
    pg_atomic_uint64 heartbeat_us;  // CLOCK_BOOTTIME of the latest turn of its loop

    slock_t mutex;            // protects the rest
    char instance[kIdBytes];  // this cluster in tokens; "" until the first worker ran
    char boot[kIdBytes];      // this life of the server
    char endpoint[160];       // "host:port/db", "" = not configured
    uint64 endpoint_hash;     // of the URL that lanes[].client_id belong to
    char run_id[48];          // of the Redis server process that the ids to kill belong to
    int32 kill_count;
    int64 kill_ids[kMaxLanes];  // data connections that commands may be under way on
    int32 lane_count;
    LaneReport lanes[kMaxLanes];
    char replica_endpoint[160];  // "" = not configured
    LaneReport replica;
    char eviction_policy[24];  // maxmemory-policy as Redis last told; "" = unknown
    TimestampTz started_at;
};

struct Breaker {
    pg_atomic_uint32 state;       // BreakerState; written by the worker
    pg_atomic_uint32 failures;    // in a row
    pg_atomic_uint64 changed_at;  // TimestampTz
};

struct State {
    Worker worker;
    Breaker breaker;
    Counters counters;
    KeySketch key_sketch;
    SoldOut sold_out;
    ForeignLocks foreign_locks;
    Size slots_offset;
    Size leases_offset;
};

// The shared state, or nullptr when the library was not preloaded.
State *Get();

inline LeaseTable *Leases() {
    State *state = Get();
    return reinterpret_cast<LeaseTable *>(reinterpret_cast<char *>(state) + state->leases_offset);
}
inline SlotArray *Slots() {
    State *state = Get();
    return reinterpret_cast<SlotArray *>(reinterpret_cast<char *>(state) + state->slots_offset);
}

// Hooks the reservation and the making of shared memory in; from _PG_init while preloading.
void InstallHooks();

// Wakes the worker if there is one. State must be set before. Never raises.
void WakeWorker();

// Wakes process number `index`. Never raises.
void WakeProcess(int32 index);

}  // namespace inventory_lock::shared
