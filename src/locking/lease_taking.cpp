// Takes leases; see lease_taking.hpp. Runs in: backends.

#include "locking/lease_taking.hpp"

#include "locking/hold_check.hpp"
#include "locking/lease_request.hpp"
#include "locking/transaction_end.hpp"
#include "locking/wait_record.hpp"
#include "pg/clock.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::locking {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kWarningLoggedEveryUs = 60 * 1000 * kUsPerMs;

void Warn(int level, const char *message, const char *detail, const char *hint = nullptr) {
    pg::Call([&] {
        ereport(level,
                (errcode(ERRCODE_WARNING), errmsg_internal("%s", message),
                 errdetail_internal("%s", detail), hint != nullptr ? errhint("%s", hint) : 0));
    });
}

// Every transaction's client is told; the server log, which the worker has told why, not more often
// than once a minute by each session: writing it costs more than the locks do.
int LevelOfFallback() {
    static int64 logged_us = 0;
    const int64 now_us = pg::BootUs();
    if (logged_us != 0 && now_us - logged_us < kWarningLoggedEveryUs) {
        return WARNING_CLIENT_ONLY;
    }
    logged_us = now_us;
    return WARNING;
}

// Redis cannot be asked: goes on without it, or refuses.
void GoWithoutRedis(const Hold *hold) {
    static bool told_not_configured = false;
    if (const auto missing = MissingConfiguration()) {
        if (!told_not_configured) {
            told_not_configured = true;
            Warn(WARNING, "locks in Redis are not configured; using database locks only",
                 missing->detail, missing->hint);
        }
        return;
    }
    if (pg::settings::on_redis_failure == pg::settings::kError) {
        shared::Count(KindOf(hold), shared::Counter::kUnavailable);
        throw pg::SqlError(pg::kLockServiceUnavailable, "Redis does not answer",
                           "inventory_lock.on_redis_failure is \"error\", so nothing is locked "
                           "without Redis.",
                           "The view inventory_lock.redis_status shows what is wrong.");
    }
    if (FirstWarningOfTransaction()) {
        Warn(LevelOfFallback(), "Redis does not answer; using database locks only",
             "Other services that lock the same keys in Redis are not excluded.");
    }
}

void SetHolder(shared::LeaseEntry *entry, Hold *hold, int64 now_us) {
    hold->since_us = now_us;
    entry->users++;
    if (entry->mode == shared::LeaseMode::kExclusive || entry->users == 1) {
        entry->holder_pid = MyProcPid;
        entry->holder_since_us = now_us;
        entry->holder_since = GetCurrentStatementStartTimestamp();
    }
}

// Takes over the lease of an entry whose gate we have, if it is valid. `any_tenure`: also when it
// is somebody else's turn (the worker has just decided, or Redis is down).
bool Adopt(Hold *hold, bool any_tenure) {
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
    const int64 now_us = pg::BootUs();
    const int64 margin_us = MarginUs(hold->ttl_ms);
    const int64 max_tenure_us = pg::settings::max_tenure_ms * kUsPerMs;
    SpinLockAcquire(&entry->mutex);
    const bool good = entry->state == shared::LeaseState::kHeld &&
                      entry->deadline_us - now_us >= margin_us &&
                      (any_tenure || now_us - entry->tenure_start_us <= max_tenure_us);
    const bool alone = entry->interest == 1;
    const bool fresh = entry->adopted != entry->generation;  // ours is the first hold of this grant
    if (good) {
        hold->generation = entry->generation;
        entry->holders++;
        entry->adopted = entry->generation;
        hold->fence = entry->next_fence++;
        hold->leased = true;
        entry->ttl_ms = hold->ttl_ms;
        entry->degraded = false;
        SetHolder(entry, hold, now_us);
    }
    SpinLockRelease(&entry->mutex);
    if (good) {
        IL_INJECT("lease-adopted");
        shared::Count(KindOf(hold), fresh   ? shared::Counter::kAcquired
                                    : alone ? shared::Counter::kWarm
                                            : shared::Counter::kHandedOver);
    }
    return good;
}

bool CanAdopt(const Hold *hold) {
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
    const int64 now_us = pg::BootUs();
    SpinLockAcquire(&entry->mutex);
    const bool good = entry->state == shared::LeaseState::kHeld &&
                      entry->deadline_us - now_us >= MarginUs(hold->ttl_ms) &&
                      now_us - entry->tenure_start_us <= pg::settings::max_tenure_ms * kUsPerMs;
    SpinLockRelease(&entry->mutex);
    return good;
}

// Gives a hold without a lease: a fence from the clock, above everything known for the key.
void AdoptWithoutLease(Hold *hold) {
    const int64 now_us = pg::BootUs();
    const auto clock = static_cast<uint64>(pg::WallUs());
    if (hold->entry >= 0) {
        shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
        const uint64 floor = pg_atomic_read_u64(&shared::Leases()->fence_floor);
        SpinLockAcquire(&entry->mutex);
        hold->fence = std::max({entry->next_fence, clock, floor + 1});
        entry->next_fence = hold->fence + 1;
        entry->degraded = true;
        entry->waited_for[0] = '\0';
        SetHolder(entry, hold, now_us);
        SpinLockRelease(&entry->mutex);
    } else {
        hold->fence = clock;
        hold->since_us = now_us;
    }
    shared::Count(KindOf(hold), shared::Counter::kDegraded);
}

[[noreturn]] void ThrowDeadlock(const Hold *hold) {
    throw pg::SqlError(ERRCODE_T_R_DEADLOCK_DETECTED, "deadlock detected",
                       "This transaction waits for lock \"" + std::string(hold->key) +
                           "\", which another database server holds; that one waits for a lock of "
                           "this transaction.",
                       "Take several locks in one call, or everywhere in the same order.");
}

bool IsBlocked(shared::LeaseEntry *entry) {
    SpinLockAcquire(&entry->mutex);
    const bool blocked = entry->blocker.token[0] != '\0';
    SpinLockRelease(&entry->mutex);
    return blocked;
}

// Whose key somebody else has; the first one when that is not known.
const Hold *Blocked(const Hold *first, size_t count) {
    for (const Hold *hold = first; hold != first + count; hold++) {
        if (hold->entry >= 0 && IsBlocked(shared::Entry(shared::Leases(), hold->entry))) {
            return hold;
        }
    }
    return first;
}

// A wait for leases has ended: counted once for each kind of lock among them, and for every key
// that somebody else had.
void CountLeaseWait(const std::vector<int32> &missing, shared::Ended ended, int64 us) {
    uint32 counted = 0;
    for (const int32 index : missing) {
        shared::LeaseEntry *entry = shared::Entry(shared::Leases(), index);
        const uint32 kind = uint32{1} << entry->kind;
        if (pg::settings::track_wait_timing && (counted & kind) == 0) {
            shared::CountWait(entry->kind, shared::Wait::kLease, ended, us);
        }
        counted |= kind;
        if (IsBlocked(entry)) {
            shared::NoteKeyWait(*entry, ended, us);
        }
    }
}

// Asks the worker for the leases of `missing`, on behalf of `hold` and those behind it, and counts
// how that ended, but for a time-out, which the caller raises and counts.
LeaseAnswer AskForLeases(const Hold *hold, const std::vector<int32> &missing, bool no_wait,
                         WaitBudget &budget) {
    const int64 started_us = pg::BootUs();
    const auto gave_up = [&](bool timed_out) {
        shared::Count(KindOf(hold),
                      timed_out ? shared::Counter::kTimedOut : shared::Counter::kCancelled);
        CountLeaseWait(missing, timed_out ? shared::Ended::kTimedOut : shared::Ended::kCancelled,
                       pg::BootUs() - started_us);
    };
    try {
        ScopedWaitRecord record(shared::WaitKind::kLease, missing.front());
        const LeaseAnswer answer =
            AskWorker(shared::Operation::kAcquire, missing, no_wait, 0, budget);
        if (answer.outcome == shared::Outcome::kDeadlock) {
            gave_up(false);
        } else {
            const bool granted = answer.outcome == shared::Outcome::kGranted;
            CountLeaseWait(missing, granted ? shared::Ended::kGot : shared::Ended::kTimedOut,
                           pg::BootUs() - started_us);
        }
        return answer;
    } catch (const pg::SqlError &error) {  // lock_timeout
        gave_up(error.sqlstate() == ERRCODE_LOCK_NOT_AVAILABLE);
        throw;
    } catch (...) {
        gave_up(false);
        throw;
    }
}

// What the worker reads of an entry that is asked for.
void PrepareToAsk(const Hold &hold) {
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold.entry);
    SpinLockAcquire(&entry->mutex);
    entry->ttl_ms = hold.ttl_ms;
    entry->blocker.token[0] = '\0';
    SpinLockRelease(&entry->mutex);
}

}  // namespace

void AskForLeasesAhead(size_t first, size_t count) {
    if (shared::Get() == nullptr || !pg::settings::RedisConfigured() || BreakerOpen()) {
        return;
    }
    std::vector<int32> missing;
    bool all = true;
    for (size_t i = first; i < first + count; i++) {
        const Hold *hold = HoldSet::begin() + i;
        if (hold->since_us == 0) {
            missing.push_back(hold->entry);
            all = all && CanAdopt(hold);
        }
    }
    if (all) {
        return;
    }
    for (size_t i = first; i < first + count; i++) {
        if (const Hold *hold = HoldSet::begin() + i; hold->since_us == 0) {
            PrepareToAsk(*hold);
        }
    }
    AskAhead(missing);
}

namespace {

// Takes the leases, or goes on without Redis. May leave what was asked for ahead.
Leased TakeThem(size_t first, size_t count, bool no_wait, WaitBudget &budget) {
    auto hold_at = [&](size_t i) { return HoldSet::begin() + first + i; };
    bool asked = false;
    while (shared::Get() != nullptr && pg::settings::RedisConfigured()) {
        const bool down = BreakerOpen();
        bool all = true;
        for (size_t i = 0; i < count && all; i++) {
            all = asked || down || hold_at(i)->since_us != 0 || CanAdopt(hold_at(i));
        }
        std::vector<int32> missing;
        std::vector<size_t> missing_holds;
        const auto miss = [&](size_t i) {
            missing.push_back(hold_at(i)->entry);
            missing_holds.push_back(i);
        };
        if (!all) {  // take none before all can be taken: no holding while waiting
            for (size_t i = 0; i < count; i++) {
                if (hold_at(i)->since_us == 0) {
                    miss(i);
                }
            }
        } else {
            for (size_t i = 0; i < count; i++) {
                if (hold_at(i)->since_us == 0 && !Adopt(hold_at(i), asked || down)) {
                    miss(i);
                }
            }
        }
        if (missing.empty()) {
            return Leased::kAll;
        }
        if (down) {
            break;
        }
        if (!IsAskedAhead(missing)) {
            for (const size_t i : missing_holds) {
                PrepareToAsk(*hold_at(i));
            }
        }
        if (!no_wait && !budget.unlimited() && budget.LeftMs() == 0) {
            ThrowTimedOut(hold_at(0));
        }
        const LeaseAnswer answer = AskForLeases(hold_at(0), missing, no_wait, budget);
        if (answer.timed_out) {
            ThrowTimedOut(Blocked(hold_at(0), count));
        }
        if (answer.outcome == shared::Outcome::kBusy) {
            return Leased::kBusy;
        }
        if (answer.outcome == shared::Outcome::kDeadlock) {
            ThrowDeadlock(Blocked(hold_at(0), count));
        }
        if (answer.outcome == shared::Outcome::kUnavailable) {
            break;
        }
        asked = answer.outcome == shared::Outcome::kGranted;
    }
    GoWithoutRedis(hold_at(0));
    for (size_t i = 0; i < count; i++) {
        Hold *hold = hold_at(i);
        if (hold->since_us == 0 &&
            (hold->entry < 0 || !pg::settings::RedisConfigured() || !Adopt(hold, true))) {
            AdoptWithoutLease(hold);
        }
    }
    return Leased::kAll;
}

}  // namespace

Leased TakeLeases(size_t first, size_t count, bool no_wait, WaitBudget &budget) {
    const Leased leased = TakeThem(first, count, no_wait, budget);
    // Leases may have come without their answer being read, or Redis may have gone meanwhile: the
    // answer must not be taken for that to a later request.
    AbandonRequest();
    return leased;
}

void ThrowTimedOut(const Hold *hold) {
    shared::Count(KindOf(hold), shared::Counter::kTimedOut);
    std::string detail;
    if (hold->entry >= 0) {
        shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
        SpinLockAcquire(&entry->mutex);
        const int32 pid = entry->holder_pid;
        const int64 since_us = entry->holder_since_us;
        const shared::Blocker blocker = entry->blocker;
        SpinLockRelease(&entry->mutex);
        const int64 now_us = pg::BootUs();
        if (pid != 0 && pid != MyProcPid) {
            detail = "Process " + std::to_string(pid) + " of this server has held it for " +
                     std::to_string((now_us - since_us) / kUsPerMs) + " ms.";
        } else if (blocker.token[0] != '\0') {
            const bool cluster = strncmp(blocker.token, "pg:", 3) == 0;
            detail = cluster ? "Another database server holds it in Redis"
                             : "A client outside this server holds it in Redis";
            if (blocker.until_us > now_us) {
                detail += ", for at most " +
                          std::to_string((blocker.until_us - now_us) / kUsPerMs) + " ms more";
            }
            detail += ".";
        }
    }
    throw pg::SqlError(pg::kLockWaitTimeout,
                       "could not get lock \"" + std::string(hold->key) + "\" in time",
                       std::move(detail));
}

std::optional<Missing> MissingConfiguration() {
    if (shared::Get() == nullptr) {
        return Missing{"inventory_lock is not in shared_preload_libraries.",
                       "Add it there and restart the server."};
    }
    if (!pg::settings::RedisConfigured()) {
        return Missing{"inventory_lock.redis_url is empty.",
                       "Set it to the Redis that has the locks, and reload."};
    }
    return std::nullopt;
}

bool BreakerOpen() {
    return pg_atomic_read_u32(&shared::Get()->breaker.state) !=
           static_cast<uint32>(shared::BreakerState::kClosed);
}

}  // namespace inventory_lock::locking
