// What the views show: leases, counters, histograms, connections, the state of the whole.
//
// Runs in: backends; reads shared memory, writes nothing. Without shared memory the sets are empty.
// Only get_foreign_locks() asks a server: that of redis_replica_url, through the worker.

#include "api/arguments.hpp"
#include "api/monitor.hpp"
#include "api/result.hpp"
#include "api/stat_names.hpp"
#include "locking/administration.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <access/xlog.h>
}

namespace inventory_lock::api {

namespace {

void PutLane(Result &result, int64 number, const char *endpoint, const char *role,
             const shared::LaneReport &report) {
    Row row;
    row.Int8(number).Text(endpoint).Text(role);
    row.Text(NameOf(kLaneNames, static_cast<size_t>(report.state)));
    row.Text(report.last_error[0] != '\0' ? std::optional<std::string>(report.last_error)
                                          : std::nullopt);
    row.Value(TimestampTzGetDatum(report.since));
    if (report.rtt_us >= 0) {
        row.Float8(static_cast<double>(report.rtt_us) / 1000);
    } else {
        row.Null();
    }
    row.Bool(report.tracking);
    result.Put(row);
}

void WarnNotListed(const char *what, const std::string &detail, const char *hint) {
    const char *text = detail.c_str();
    pg::Call([&] {
        ereport(WARNING, (errcode(ERRCODE_WARNING), errmsg("%s", what),
                          text[0] != '\0' ? errdetail("%s", text) : 0,
                          hint[0] != '\0' ? errhint("%s", hint) : 0));
    });
}

}  // namespace

uint32 WaitersOf(const shared::LeaseEntry &entry) {
    return entry.interest - std::min(entry.users, entry.interest);
}

shared::Worker CopyOfWorker(shared::State *state) {
    shared::Worker worker;
    SpinLockAcquire(&state->worker.mutex);
    memcpy(static_cast<void *>(&worker), &state->worker, sizeof(worker));
    SpinLockRelease(&state->worker.mutex);
    return worker;
}

const char *TroubleOfMode(shared::State *state, const shared::Worker &worker) {
    bool ready = false;
    for (int lane = 0; lane < worker.lane_count; lane++) {
        ready = ready || strcmp(NameOf(kLaneNames, static_cast<size_t>(worker.lanes[lane].state)),
                                "ready") == 0;
    }
    const bool running = pg_atomic_read_u32(&state->worker.pid) != 0;
    return !pg::settings::RedisConfigured()                 ? "redis_url is empty"
           : !running && RecoveryInProgress()               ? "the server is a standby"
           : !running                                       ? "the worker is not running"
           : pg_atomic_read_u32(&state->breaker.state) != 0 ? "Redis does not answer"
           : !ready                                         ? "connecting to Redis"
                                                            : nullptr;
}

// get_locks() → one row per key that this cluster has, wants or is letting go of
IL_FUNCTION(inventory_lock_get_locks) {
    Result result(fcinfo);
    if (shared::Get() == nullptr) {
        return Datum{0};
    }
    const int64 now_us = pg::BootUs();
    shared::ForEachEntry(shared::Leases(), [&](int32, const shared::LeaseEntry &entry) {
        const bool leased = entry.state == shared::LeaseState::kHeld;
        const bool intent = entry.mode == shared::LeaseMode::kIntent;
        const uint64 gate = shared::HashOfMode(entry.hash, entry.mode);
        const bool blocked = !leased && entry.blocker.token[0] != '\0';
        const bool cluster = strncmp(entry.blocker.token, "pg:", 3) == 0;
        Row row;
        row.Text(Shown(entry.key)).Text(NameOf(kKindNames, entry.kind));
        row.Text(NameOf(kStateNames, static_cast<size_t>(entry.state)));
        if (entry.holder_pid != 0) {
            row.Int8(entry.holder_pid);
        } else {
            row.Null();
        }
        if (entry.users > 0) {
            row.Value(TimestampTzGetDatum(entry.holder_since));
        } else {
            row.Null();
        }
        if (leased) {
            row.Int8(std::max<int64>((entry.deadline_us - now_us) / 1000, 0));
        } else if (blocked && entry.blocker.until_us > now_us) {
            row.Int8((entry.blocker.until_us - now_us) / 1000);
        } else {
            row.Null();
        }
        if (entry.next_fence > 1 && !intent) {
            row.Int8(static_cast<int64>(entry.next_fence - 1));
        } else {
            row.Null();
        }
        if (leased) {
            row.Text(entry.token);
        } else if (blocked) {
            row.Text(entry.blocker.token);
        } else {
            row.Null();
        }
        row.Int8(WaitersOf(entry)).Bool(blocked && !cluster);
        if (leased || entry.users > 0) {
            row.Text(leased ? "redis" : "database");
        } else {
            row.Null();
        }
        row.Int8(static_cast<int64>(gate >> 32));
        row.Int8(static_cast<int64>(gate & 0xFFFFFFFF));
        result.Put(row);
    });
    return Datum{0};
}

// get_counters() → (kind, name, value); kind is NULL for counters of the whole server
IL_FUNCTION(inventory_lock_get_counters) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    if (state == nullptr) {
        return Datum{0};
    }
    const auto put = [&](const char *kind, const std::string &name, pg_atomic_uint64 *value) {
        Row row;
        if (kind != nullptr) {
            row.Text(kind);
        } else {
            row.Null();
        }
        row.Text(name).Int8(static_cast<int64>(pg_atomic_read_u64(value)));
        result.Put(row);
    };
    for (size_t kind = 0; kind < shared::kKinds; kind++) {
        for (size_t i = 0; i < std::size(kCounterNames); i++) {
            put(kKindNames[kind], kCounterNames[i], &state->counters.by_kind[kind][i]);
        }
    }
    for (size_t i = 0; i < std::size(kTotalNames); i++) {
        put(nullptr, kTotalNames[i], &state->counters.totals[i]);
    }
    for (size_t i = 1; i < std::size(kErrorNames); i++) {
        put(nullptr, std::string("errors_") + kErrorNames[i],
            &state->counters.totals[std::size(kTotalNames) + i]);
    }
    return Datum{0};
}

// get_stats_reset() → when the counters began
IL_FUNCTION(inventory_lock_get_stats_reset) {
    shared::State *state = shared::Get();
    if (state == nullptr) {
        PG_RETURN_NULL();
    }
    return TimestampTzGetDatum(
        static_cast<TimestampTz>(pg_atomic_read_u64(&state->counters.stats_reset)));
}

// get_waits() → (kind, wait, outcome, upper bound of the bucket in µs, count, sum in µs)
IL_FUNCTION(inventory_lock_get_waits) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    if (state == nullptr) {
        return Datum{0};
    }
    for (size_t kind = 0; kind < shared::kKinds; kind++) {
        for (size_t wait = 0; wait < std::size(kWaitNames); wait++) {
            for (size_t ended = 0; ended < std::size(kEndedNames); ended++) {
                for (int bucket = 0; bucket < shared::kBuckets; bucket++) {
                    const uint64 count =
                        pg_atomic_read_u64(&state->counters.waits[kind][wait][ended][bucket]);
                    if (count == 0) {
                        continue;
                    }
                    Row row;
                    row.Text(kKindNames[kind]).Text(kWaitNames[wait]).Text(kEndedNames[ended]);
                    if (bucket == shared::kBuckets - 1) {
                        row.Null();  // open
                    } else {
                        row.Int8(int64{1} << bucket);
                    }
                    row.Int8(static_cast<int64>(count));
                    row.Int8(static_cast<int64>(
                        pg_atomic_read_u64(&state->counters.wait_sum_us[kind][wait][ended])));
                    result.Put(row);
                }
            }
        }
    }
    return Datum{0};
}

// get_key_waits() → (key, kind, waits, error, timed out, cancelled, sum in µs, longest in µs)
IL_FUNCTION(inventory_lock_get_key_waits) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    if (state == nullptr) {
        return Datum{0};
    }
    shared::ForEachKeyWaits(&state->key_sketch, [&](const shared::KeyWaits &waits) {
        Row row;
        row.Text(Shown(waits.key)).Text(NameOf(kKindNames, waits.kind));
        row.Int8(static_cast<int64>(waits.waits)).Int8(static_cast<int64>(waits.error));
        row.Int8(static_cast<int64>(waits.timed_out)).Int8(static_cast<int64>(waits.cancelled));
        row.Int8(static_cast<int64>(waits.wait_us)).Int8(static_cast<int64>(waits.longest_us));
        result.Put(row);
    });
    return Datum{0};
}

// get_connections() → one row per pair of connections to Redis
IL_FUNCTION(inventory_lock_get_connections) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    if (state == nullptr) {
        return Datum{0};
    }
    const shared::Worker worker = CopyOfWorker(state);
    for (int lane = 0; lane < worker.lane_count; lane++) {
        PutLane(result, lane, worker.endpoint, "primary", worker.lanes[lane]);
    }
    if (worker.replica_endpoint[0] != '\0') {
        PutLane(result, worker.lane_count, worker.replica_endpoint, "replica", worker.replica);
    }
    return Datum{0};
}

// get_foreign_locks() → (key, kind, token owner, TTL left in ms), asked of redis_replica_url; a
// warning when it does not answer. Nothing on a standby, which has no worker to ask.
IL_FUNCTION(inventory_lock_get_foreign_locks) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    if (state == nullptr || !pg::settings::ReplicaConfigured() || RecoveryInProgress()) {
        return Datum{0};
    }
    bool more = false;
    const auto locks = locking::ListForeignLocks(&more);
    if (!locks) {
        const shared::Worker worker = CopyOfWorker(state);
        const bool running = pg_atomic_read_u32(&state->worker.pid) != 0;
        WarnNotListed("locks held elsewhere are not shown: asking the Redis replica failed",
                      !running                            ? "The worker is not running."
                      : worker.replica.last_error[0] != 0 ? worker.replica.last_error
                                                          : "",
                      "The view inventory_lock.redis_status shows what is wrong.");
        return Datum{0};
    }
    if (more) {
        WarnNotListed("not all locks held elsewhere are shown",
                      "There are more than " + std::to_string(shared::kForeignLocks) + ".", "");
    }
    for (const locking::ForeignLock &lock : *locks) {
        Row row;
        row.Text(Shown(lock.key)).Text(NameOf(kKindNames, static_cast<size_t>(lock.kind)));
        row.Text(lock.token).Int8(lock.ttl_ms);
        result.Put(row);
    }
    return Datum{0};
}

// get_status() → one row: how this server locks, and why
IL_FUNCTION(inventory_lock_get_status) {
    Result result(fcinfo);
    shared::State *state = shared::Get();
    Row row;
    if (state == nullptr) {
        row.Text("database").Text("not in shared_preload_libraries");
        row.Null().Null().Null().Null().Null().Null().Null().Null();
        result.Put(row);
        return Datum{0};
    }
    const shared::Worker worker = CopyOfWorker(state);
    const uint32 breaker = pg_atomic_read_u32(&state->breaker.state);
    const uint32 pid = pg_atomic_read_u32(&state->worker.pid);
    const char *reason = TroubleOfMode(state, worker);
    row.Text(reason == nullptr ? "redis" : "database");
    row.Text(reason != nullptr ? std::optional<std::string>(reason) : std::nullopt);
    if (pid != 0) {
        row.Int8(pid);
    } else {
        row.Null();
    }
    row.Text(NameOf(kBreakerNames, breaker));
    const auto text_or_null = [](const char *text) {
        return text[0] != '\0' ? std::optional<std::string>(text) : std::nullopt;
    };
    row.Text(text_or_null(worker.endpoint));
    row.Text(text_or_null(worker.instance));
    row.Text(text_or_null(worker.eviction_policy));
    shared::LeaseTable *leases = shared::Leases();
    SpinLockAcquire(&leases->free_mutex);
    const int32 used = leases->used;
    SpinLockRelease(&leases->free_mutex);
    row.Int8(used).Int8(leases->capacity);
    row.Int8(static_cast<int64>(pg_atomic_read_u64(&state->worker.incarnation)));
    result.Put(row);
    return Datum{0};
}

// stat_reset() → void
IL_FUNCTION(inventory_lock_stat_reset) {
    if (shared::State *state = shared::Get(); state != nullptr) {
        shared::ResetCounters(&state->counters);
        shared::ResetKeySketch(&state->key_sketch);
    }
    PG_RETURN_VOID();
}

}  // namespace inventory_lock::api
