// metrics(): everything that the statistics views know, as Prometheus reads it.
//
// Runs in: backends; reads shared memory. Text exposition format 0.0.4: times in seconds, counters
// end in _total, histograms are cumulative. Keys are no labels: there can be millions of them.
// docs/monitoring/ names every metric; test/monitoring/run compares the two.

#include "api/monitor.hpp"
#include "api/stat_names.hpp"
#include "pg/boundary.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

extern "C" {
#include <access/xlog.h>
}

namespace inventory_lock::api {

namespace {

constexpr double kUsPerSecond = 1e6;
constexpr double kUsPerTimestamp = 1e6;
constexpr double kEpochOffset = 946684800.0;  // seconds from 1970 to PostgreSQL's 2000

std::string Number(double value) {
    char text[64];
    std::snprintf(text, sizeof(text), "%.15g", value);
    return text;
}

// A label's value: backslash, quote and line feed are escaped.
std::string Quoted(std::string_view value) {
    std::string text = "\"";
    for (const char c : value) {
        if (c == '\n') {
            text += "\\n";
        } else {
            if (c == '\\' || c == '"') {
                text += '\\';
            }
            text += c;
        }
    }
    return text + "\"";
}

class Page final {
  public:
    // Begins a metric. Names get the prefix inventory_lock_.
    void Metric(const char *name, const char *type, const char *help) {
        name_ = std::string("inventory_lock_") + name;
        text_ += "# HELP " + name_ + " " + help + "\n# TYPE " + name_ + " " + type + "\n";
    }
    void Value(double value, const std::string &labels = {}, const char *suffix = "") {
        text_ += name_ + suffix + (labels.empty() ? "" : "{" + labels + "}") + " " + Number(value) +
                 "\n";
    }
    void Gauge(const char *name, const char *help, double value) {
        Metric(name, "gauge", help);
        Value(value);
    }
    const std::string &text() const { return text_; }

  private:
    std::string name_;
    std::string text_;
};

double Read(pg_atomic_uint64 *value) {
    return static_cast<double>(pg_atomic_read_u64(value));
}

double Seconds(TimestampTz time) {
    return time == 0 ? 0 : static_cast<double>(time) / kUsPerTimestamp + kEpochOffset;
}

void PutCounters(Page &page, shared::Counters &counters) {
    page.Metric("locks_total", "counter", "Keys asked for, by kind and by what became of it.");
    for (size_t kind = 0; kind < shared::kKinds; kind++) {
        for (size_t i = 0; i < std::size(kCounterNames); i++) {
            page.Value(Read(&counters.by_kind[kind][i]),
                       std::string("kind=") + Quoted(kKindNames[kind]) +
                           ",outcome=" + Quoted(kCounterNames[i]));
        }
    }
    page.Metric("events_total", "counter", "What the worker did, by event.");
    for (size_t i = 0; i < std::size(kTotalNames); i++) {
        page.Value(Read(&counters.totals[i]), std::string("event=") + Quoted(kTotalNames[i]));
    }
    page.Metric("redis_errors_total", "counter", "Failures of Redis, by class.");
    for (size_t i = 1; i < std::size(kErrorNames); i++) {
        page.Value(Read(&counters.totals[std::size(kTotalNames) + i]),
                   std::string("class=") + Quoted(kErrorNames[i]));
    }
}

// A histogram appears with its first wait, and then with all its buckets.
void PutWaits(Page &page, shared::Counters &counters) {
    page.Metric("wait_seconds", "histogram",
                "Waits for gate, lease and row, and how long locks were held.");
    for (size_t kind = 0; kind < shared::kKinds; kind++) {
        for (size_t wait = 0; wait < std::size(kWaitNames); wait++) {
            for (size_t ended = 0; ended < std::size(kEndedNames); ended++) {
                double counts[shared::kBuckets];
                double total = 0;
                for (int bucket = 0; bucket < shared::kBuckets; bucket++) {
                    counts[bucket] = Read(&counters.waits[kind][wait][ended][bucket]);
                    total += counts[bucket];
                }
                if (total == 0) {
                    continue;
                }
                const std::string labels = std::string("kind=") + Quoted(kKindNames[kind]) +
                                           ",wait=" + Quoted(kWaitNames[wait]) +
                                           ",outcome=" + Quoted(kEndedNames[ended]);
                double below = 0;
                for (int bucket = 0; bucket < shared::kBuckets; bucket++) {
                    below += counts[bucket];
                    const bool open = bucket == shared::kBuckets - 1;
                    page.Value(below,
                               labels + ",le=\"" +
                                   (open ? "+Inf" : Number((int64{1} << bucket) / kUsPerSecond)) +
                                   "\"",
                               "_bucket");
                }
                page.Value(Read(&counters.wait_sum_us[kind][wait][ended]) / kUsPerSecond, labels,
                           "_sum");
                page.Value(total, labels, "_count");
            }
        }
    }
}

void PutLeases(Page &page) {
    const int64 now_us = pg::BootUs();
    double held = 0;
    double degraded = 0;
    double waiters = 0;
    double foreign = 0;
    double most_waiters = 0;
    int64 oldest_us = 0;
    shared::LeaseTable *leases = shared::Leases();
    shared::ForEachEntry(leases, [&](int32, const shared::LeaseEntry &entry) {
        const bool ours = entry.users > 0;
        const double queue = WaitersOf(entry);
        const bool leased = entry.state == shared::LeaseState::kHeld;
        held += ours ? 1 : 0;
        degraded += ours && !leased ? 1 : 0;
        waiters += queue;
        most_waiters = std::max(most_waiters, queue);
        foreign += !leased && entry.interest > 0 && entry.blocker.token[0] != '\0' ? 1 : 0;
        if (ours) {
            oldest_us = std::max(oldest_us, now_us - entry.holder_since_us);
        }
    });
    SpinLockAcquire(&leases->free_mutex);
    const double used = leases->used;
    SpinLockRelease(&leases->free_mutex);
    page.Gauge("held_locks", "Keys that transactions of this server hold.", held);
    page.Gauge("held_locks_degraded", "Held keys that Redis does not protect.", degraded);
    page.Gauge("waiters", "Transactions of this server that wait for a key.", waiters);
    page.Gauge("waiters_of_one_key", "Waiters of the key that most wait for.", most_waiters);
    page.Gauge("keys_held_elsewhere", "Keys waited for here that somebody outside has.", foreign);
    page.Gauge("oldest_hold_seconds", "Age of the oldest hold.", oldest_us / kUsPerSecond);
    page.Gauge("leases_used", "Places of the lease table in use.", used);
    page.Gauge("leases_max", "Places of the lease table.", leases->capacity);
}

void PutWorker(Page &page, shared::State *state) {
    const shared::Worker worker = CopyOfWorker(state);
    page.Gauge("redis_configured", "1 when redis_url is set.",
               pg::settings::RedisConfigured() ? 1 : 0);
    page.Gauge("redis_in_use", "1 when new locks are taken in Redis.",
               TroubleOfMode(state, worker) == nullptr ? 1 : 0);
    page.Gauge("worker_up", "1 when the worker runs.",
               pg_atomic_read_u32(&state->worker.pid) != 0 ? 1 : 0);
    page.Gauge("worker_started_seconds", "When the worker started, in seconds since 1970.",
               Seconds(worker.started_at));
    page.Metric("worker_starts_total", "counter", "Starts of the worker.");
    page.Value(Read(&state->worker.incarnation));
    page.Gauge("breaker_open", "1 when new locks do not ask Redis because it failed.",
               pg_atomic_read_u32(&state->breaker.state) != 0 ? 1 : 0);
    page.Gauge(
        "redis_evicts", "1 when Redis may evict locks (maxmemory-policy).",
        worker.eviction_policy[0] != '\0' && strcmp(worker.eviction_policy, "noeviction") != 0 ? 1
                                                                                               : 0);
    page.Metric("redis_connection_up", "gauge", "1 for a connection that serves, by its number.");
    for (int lane = 0; lane < worker.lane_count; lane++) {
        page.Value(
            strcmp(NameOf(kLaneNames, static_cast<size_t>(worker.lanes[lane].state)), "ready") == 0
                ? 1
                : 0,
            "lane=" + Quoted(std::to_string(lane)));
    }
    page.Metric("redis_rtt_seconds", "gauge", "Latest round trip of a connection, by its number.");
    for (int lane = 0; lane < worker.lane_count; lane++) {
        if (worker.lanes[lane].rtt_us >= 0) {
            page.Value(worker.lanes[lane].rtt_us / kUsPerSecond,
                       "lane=" + Quoted(std::to_string(lane)));
        }
    }
}

}  // namespace

// metrics() → text
IL_FUNCTION(inventory_lock_metrics) {
    (void)fcinfo;
    Page page;
    shared::State *state = shared::Get();
    page.Gauge("preloaded", "1 when inventory_lock is in shared_preload_libraries.",
               state != nullptr ? 1 : 0);
    page.Gauge("in_recovery", "1 on a standby, which has no worker.", RecoveryInProgress() ? 1 : 0);
    if (state != nullptr) {
        PutWorker(page, state);
        PutLeases(page);
        PutCounters(page, state->counters);
        PutWaits(page, state->counters);
        page.Gauge(
            "stats_reset_seconds", "When the counters began, in seconds since 1970.",
            Seconds(static_cast<TimestampTz>(pg_atomic_read_u64(&state->counters.stats_reset))));
    }
    const std::string &text = page.text();
    return pg::Call([&] {
        return PointerGetDatum(
            cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
    });
}

}  // namespace inventory_lock::api
