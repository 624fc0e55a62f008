// Defines the settings; see settings.hpp. Runs in: every process, from _PG_init.

#include "pg/settings.hpp"

namespace inventory_lock::pg::settings {

int breaker_cooldown_ms = 5000;
int breaker_failures = 5;
int commit_margin_ms = 1000;
int custom_ttl_ms = 30000;
int early_release = kEarlyReleaseStatement;
int inventory_ttl_ms = 30000;
int lease_linger_ms = 0;
int log_min_wait_ms = -1;
int log_stats_interval_ms = 0;
int max_hold_ms = 600000;
int max_keys_per_transaction = 1000;
int max_leases = 8192;
int max_tenure_ms = 1000;
int max_waiters = 0;
bool notify = false;
int on_redis_failure = kFallback;
int order_ttl_ms = 60000;
int redis_command_timeout_ms = 500;
int redis_connect_timeout_ms = 500;
char *redis_password_file = nullptr;
int redis_pool_size = 2;
char *redis_replica_url = nullptr;
char *redis_url = nullptr;
int retry_interval_ms = 100;
int row_lock = kRowLockAuto;
bool sold_out_check = true;
bool track_wait_timing = true;
int wait_timeout_ms = 30000;

namespace {

UrlChecker url_checker = nullptr;

constexpr int kMinTtlMs = 1000;
constexpr int kMaxTtlMs = 24 * 3600 * 1000;

const config_enum_entry kEarlyReleaseOptions[] = {{"off", kEarlyReleaseOff, false},
                                                  {"statement", kEarlyReleaseStatement, false},
                                                  {"on", kEarlyReleaseOn, false},
                                                  {nullptr, 0, false}};
const config_enum_entry kOnRedisFailureOptions[] = {
    {"fallback", kFallback, false}, {"error", kError, false}, {nullptr, 0, false}};
const config_enum_entry kRowLockOptions[] = {{"auto", kRowLockAuto, false},
                                             {"update", kRowLockUpdate, false},
                                             {"no_key_update", kRowLockNoKeyUpdate, false},
                                             {nullptr, 0, false}};

// The value may hold a password, so it is not repeated.
bool CheckUrl(const char *name, const char *url, bool replica) {
    if (url == nullptr || url[0] == '\0' || url_checker == nullptr) {
        return true;
    }
    UrlProblem problem;
    if (url_checker(url, replica, &problem)) {
        return true;
    }
    if (problem.feature_missing) {
        GUC_check_errcode(ERRCODE_FEATURE_NOT_SUPPORTED);
    }
    GUC_check_errmsg("invalid value for parameter \"inventory_lock.%s\"", name);
    GUC_check_errdetail("%s", problem.message);
    if (problem.hint[0] != '\0') {
        GUC_check_errhint("%s", problem.hint);
    }
    return false;
}

extern "C" bool CheckRedisUrl(char **newval, void **, GucSource) {
    return CheckUrl("redis_url", *newval, false);
}

extern "C" bool CheckReplicaUrl(char **newval, void **, GucSource) {
    return CheckUrl("redis_replica_url", *newval, true);
}

void DefineInt(const char *name, const char *description, const char *explanation, int *variable,
               int boot, int min, int max, GucContext context, int flags) {
    DefineCustomIntVariable(name, description, explanation, variable, boot, min, max, context,
                            flags, nullptr, nullptr, nullptr);
}

void DefineEnum(const char *name, const char *description, const char *explanation, int *variable,
                int boot, const config_enum_entry *options, GucContext context) {
    DefineCustomEnumVariable(name, description, explanation, variable, boot, options, context, 0,
                             nullptr, nullptr, nullptr);
}

void DefineText(const char *name, const char *description, const char *explanation, char **variable,
                GucContext context, int flags, GucStringCheckHook check) {
    DefineCustomStringVariable(name, description, explanation, variable, "", context, flags, check,
                               nullptr, nullptr);
}

}  // namespace

void Define(UrlChecker checker, bool preloaded) {
    url_checker = checker;

    DefineInt("inventory_lock.breaker_cooldown",
              "Pause before Redis is probed again after it failed.",
              "Doubles with each failed probe, up to 60 s.", &breaker_cooldown_ms, 5000, 10, 600000,
              PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.breaker_failures",
              "Failures in a row after which new locks no longer ask Redis.", nullptr,
              &breaker_failures, 5, 1, 1000, PGC_SIGHUP, 0);
    DefineInt("inventory_lock.commit_margin",
              "Time that must be left on every lock in Redis when a transaction commits.", nullptr,
              &commit_margin_ms, 1000, 0, 60000, PGC_SUSET, GUC_UNIT_MS);
    DefineInt("inventory_lock.custom_ttl", "Time to live in Redis of a custom lock.", nullptr,
              &custom_ttl_ms, 30000, kMinTtlMs, kMaxTtlMs, PGC_SUSET, GUC_UNIT_MS);
    DefineEnum("inventory_lock.early_release",
               "Lets locks go before the commit is flushed; it is acknowledged only afterwards.",
               "\"statement\" does so outside transaction blocks only.", &early_release,
               kEarlyReleaseStatement, kEarlyReleaseOptions, PGC_USERSET);
    DefineInt("inventory_lock.inventory_ttl", "Time to live in Redis of a variant's stock lock.",
              nullptr, &inventory_ttl_ms, 30000, kMinTtlMs, kMaxTtlMs, PGC_SUSET, GUC_UNIT_MS);
    DefineInt("inventory_lock.lease_linger",
              "Time that an unused lock is kept in Redis for its next user.",
              "Applies only to keys that no other kind of client was seen on.", &lease_linger_ms, 0,
              0, 60000, PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.log_min_wait", "Logs every lock that took at least this long to get.",
              "-1 logs none.", &log_min_wait_ms, -1, -1, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
    DefineInt("inventory_lock.log_stats_interval",
              "Time between two lines in the log that sum up what the locks did.", "0 logs none.",
              &log_stats_interval_ms, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.max_hold",
              "Longest time for which one transaction's lock is renewed.", nullptr, &max_hold_ms,
              600000, 1000, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.max_keys_per_transaction", "Most keys that one transaction may lock.",
              "Every key takes a place in PostgreSQL's lock table.", &max_keys_per_transaction,
              1000, 1, 100000, PGC_SUSET, 0);
    // Only while preloading can it be one of the server's start; later it has no effect, and must
    // not be an error of the configuration.
    DefineInt("inventory_lock.max_leases",
              "Most keys that this server can have locked or waited for at one time.", nullptr,
              &max_leases, 8192, 64, 1000000, preloaded ? PGC_POSTMASTER : PGC_SIGHUP, 0);
    DefineInt("inventory_lock.max_tenure",
              "Time after which a key that goes from hand to hand here is offered to others.",
              nullptr, &max_tenure_ms, 1000, 10, 600000, PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.max_waiters", "Most transactions that may wait for one key.",
              "Further ones are refused at once. 0 means no limit.", &max_waiters, 0, 0, INT_MAX,
              PGC_SUSET, 0);
    DefineCustomBoolVariable("inventory_lock.notify",
                             "Sends NOTIFY inventory_lock when an event of stock is written.",
                             "NOTIFY takes a lock at commit for which all databases queue.",
                             &notify, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineEnum("inventory_lock.on_redis_failure", "What a call does when Redis does not answer.",
               "\"fallback\" goes on with database locks alone and warns; \"error\" refuses.",
               &on_redis_failure, kFallback, kOnRedisFailureOptions, PGC_SUSET);
    DefineInt("inventory_lock.order_ttl", "Time to live in Redis of an order's lock.", nullptr,
              &order_ttl_ms, 60000, kMinTtlMs, kMaxTtlMs, PGC_SUSET, GUC_UNIT_MS);
    DefineInt("inventory_lock.redis_command_timeout", "Longest wait for Redis to answer a command.",
              nullptr, &redis_command_timeout_ms, 500, 10, 60000, PGC_SIGHUP, GUC_UNIT_MS);
    DefineInt("inventory_lock.redis_connect_timeout", "Longest wait for a connection to Redis.",
              nullptr, &redis_connect_timeout_ms, 500, 10, 60000, PGC_SIGHUP, GUC_UNIT_MS);
    DefineText("inventory_lock.redis_password_file", "File whose first line is the Redis password.",
               "It must belong to the server's user and be readable by nobody else.",
               &redis_password_file, PGC_SIGHUP, GUC_SUPERUSER_ONLY, nullptr);
    DefineInt("inventory_lock.redis_pool_size", "Connections to each Redis server.", nullptr,
              &redis_pool_size, 2, 1, 16, PGC_SIGHUP, 0);
    DefineText("inventory_lock.redis_replica_url",
               "The Redis server that active_locks asks for the locks of others.",
               "redis:// or unix://, like redis_url; empty asks nobody.", &redis_replica_url,
               PGC_SIGHUP, GUC_SUPERUSER_ONLY, CheckReplicaUrl);
    DefineText("inventory_lock.redis_url", "Where Redis is; empty means database locks only.",
               "redis://[user@]host[:port][/db], unix:///path[?db=n] or "
               "redis+sentinel://host[:port],.../primary[/db].",
               &redis_url, PGC_SIGHUP, GUC_SUPERUSER_ONLY, CheckRedisUrl);
    DefineInt("inventory_lock.retry_interval",
              "Time between two tries for a key that somebody else has, when no wake-up comes.",
              nullptr, &retry_interval_ms, 100, 10, 60000, PGC_SIGHUP, GUC_UNIT_MS);
    DefineEnum(
        "inventory_lock.row_lock", "Strength of the lock on a stock row.",
        "\"auto\" is \"update\", but \"no_key_update\" where foreign keys point at the table.",
        &row_lock, kRowLockAuto, kRowLockOptions, PGC_USERSET);
    DefineCustomBoolVariable("inventory_lock.sold_out_check",
                             "Refuses what is sold out without taking a lock.",
                             "Looks at the stock in a snapshot first when it was lately too small.",
                             &sold_out_check, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("inventory_lock.track_wait_timing",
                             "Collects histograms of lock waits.", nullptr, &track_wait_timing,
                             true, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineInt("inventory_lock.wait_timeout", "Longest wait of one call for all its locks together.",
              "0 does not wait, -1 waits without limit.", &wait_timeout_ms, 30000, -1, INT_MAX,
              PGC_USERSET, GUC_UNIT_MS);

    ReserveSettingsPrefix("inventory_lock");
}

}  // namespace inventory_lock::pg::settings
