// The settings inventory_lock.*: plain variables that PostgreSQL's GUC machinery writes.
//
// Runs in: every process. Times are milliseconds unless the name says otherwise.
// docs/configuration.md explains each for users; the table in settings.cpp is sorted and is the
// only place that defines names, defaults and ranges.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::pg::settings {

enum RowLock { kRowLockAuto, kRowLockUpdate, kRowLockNoKeyUpdate };
enum OnRedisFailure { kFallback, kError };
enum EarlyRelease { kEarlyReleaseOff, kEarlyReleaseStatement, kEarlyReleaseOn };

extern int breaker_cooldown_ms;
extern int breaker_failures;
extern int commit_margin_ms;
extern int custom_ttl_ms;
extern int early_release;
extern int inventory_ttl_ms;
extern int lease_linger_ms;
extern int log_min_wait_ms;        // -1: never
extern int log_stats_interval_ms;  // 0: never
extern int max_hold_ms;
extern int max_keys_per_transaction;
extern int max_leases;
extern int max_tenure_ms;
extern int max_waiters;  // 0: no limit
extern bool notify;
extern int on_redis_failure;
extern int order_ttl_ms;
extern int redis_command_timeout_ms;
extern int redis_connect_timeout_ms;
extern char *redis_password_file;
extern int redis_pool_size;
extern char *redis_replica_url;
extern char *redis_url;
extern int retry_interval_ms;
extern int row_lock;
extern bool sold_out_check;
extern bool track_wait_timing;
extern int wait_timeout_ms;  // -1: no limit

// What must be left of a lease with this TTL: a tenth, at least commit_margin; but half of it at
// most, or a margin as long as the TTL could never be met.
inline int64 LeaseMarginMs(int64 ttl_ms) {
    return std::min<int64>(std::max<int64>(ttl_ms / 10, commit_margin_ms), ttl_ms / 2);
}

// Says what is wrong with a redis_url that is not empty, in full sentences; true when nothing is.
// The parser lives with the Redis code, which pg/ may not include: _PG_init hands it in.
struct UrlProblem {
    char message[256];
    char hint[256];
    bool feature_missing;
};
// `replica`: of redis_replica_url.
using UrlChecker = bool (*)(const char *url, bool replica, UrlProblem *problem);

// Defines all settings. `preloaded`: those of the server's start can be set.
void Define(UrlChecker checker, bool preloaded);

// Is a Redis server configured?
inline bool RedisConfigured() {
    return redis_url != nullptr && redis_url[0] != '\0';
}

// Is there a server to ask for the locks of others?
inline bool ReplicaConfigured() {
    return redis_replica_url != nullptr && redis_replica_url[0] != '\0';
}

}  // namespace inventory_lock::pg::settings
