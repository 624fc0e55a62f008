// Takes locks: gates in sorted order, then leases, then fences; see locks.hpp.
//
// Runs in: backends. The order of steps for one key is fixed and each has its undo:
//   1. a hold in the hold set          undone by the (sub)transaction's end
//   2. interest in the lease entry     by the same, through the hold
//   3. the gate                        by PostgreSQL, at the same end
//   4. the lease                       by whoever brings the interest to zero
// Steps 1 and 2 of one key are never separated by anything that can raise.

#include "locking/locks.hpp"

#include "locking/gate.hpp"
#include "locking/hold_check.hpp"
#include "locking/hold_set.hpp"
#include "locking/lease_request.hpp"
#include "locking/lease_taking.hpp"
#include "locking/transaction_end.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <access/xlog.h>
}

namespace inventory_lock::locking {

namespace {

int64 DefaultTtlMs(LockKind kind) {
    switch (kind) {
        case LockKind::kInventory:
            return pg::settings::inventory_ttl_ms;
        case LockKind::kOrder:
            return pg::settings::order_ttl_ms;
        case LockKind::kCustom:
            return pg::settings::custom_ttl_ms;
    }
    return pg::settings::custom_ttl_ms;
}

// Refuses where no lock may be taken: a standby, a read-only transaction, a parallel worker.
void CheckContext() {
    pg::Call([] {
        PreventCommandIfReadOnly("locking");
        PreventCommandIfParallelMode("locking");
        PreventCommandDuringRecovery("locking");
    });
    EnsureExitCallback();
}

// Counts the transaction in the entry's interest. The hold is in the hold set already.
void JoinEntry(Hold *hold) {
    if (shared::Get() == nullptr) {
        return;
    }
    // Who shares a key does not wait for the others who share it.
    const bool limited =
        pg::settings::max_waiters > 0 && hold->mode == shared::LeaseMode::kExclusive;
    const uint32 limit = limited ? static_cast<uint32>(pg::settings::max_waiters) + 1 : 0;
    const int32 entry = pg::Call([&] {
        return shared::Join(shared::Leases(), hold->key, hold->key_length, hold->hash,
                            static_cast<uint8>(hold->kind), hold->mode, limit);
    });
    if (entry == shared::kTooMany) {
        shared::Count(KindOf(hold), shared::Counter::kRefused);
        throw pg::SqlError(
            pg::kTooManyWaiters,
            "too many transactions wait for lock \"" + std::string(hold->key) + "\"",
            "inventory_lock.max_waiters is " + std::to_string(pg::settings::max_waiters) + ".");
    }
    if (entry == shared::kFull) {
        throw pg::SqlError(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                           "too many keys are locked at the same time", {},
                           "Raise inventory_lock.max_leases and restart the server.");
    }
    hold->entry = entry;
}

// Undoes an attempt that did not get its lock: the hold added last.
void Forget(Hold *hold) {
    bool work = false;
    if (hold->entry >= 0) {
        work = shared::Leave(shared::Leases(), hold->entry);
    }
    HoldSet::RemoveLast();
    if (work) {
        shared::WakeWorker();
    }
}

const char *ProtectionOf(const Hold *hold) {
    return hold->leased ? "redis" : "database";
}

// One line for every key got, for who asks for DEBUG1.
void LogGrants(size_t first, size_t count, const WaitBudget &budget) {
    if (!message_level_is_interesting(DEBUG1)) {
        return;
    }
    const double waited_ms = budget.WaitedMs();
    pg::Call([&] {
        for (size_t i = first; i < first + count; i++) {
            const Hold *hold = HoldSet::begin() + i;
            ereport(DEBUG1, (errmsg("lock acquired: key=%s fence=" UINT64_FORMAT
                                    " protection=%s waited_ms=%.1f",
                                    hold->key, hold->fence, ProtectionOf(hold), waited_ms)));
        }
    });
}

// Who of this server has the key of a hold that is about to queue; "" = nobody.
std::string LocalHolder(const Hold &hold) {
    if (hold.entry < 0) {
        return {};
    }
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold.entry);
    SpinLockAcquire(&entry->mutex);
    const int32 pid = entry->holder_pid;
    SpinLockRelease(&entry->mutex);
    return pid != 0 ? "pid:" + std::to_string(pid) : "";
}

// The settings say that this transaction's locks may go before its flush.
void ConsiderEarlyRelease() {
    if (pg::settings::early_release == pg::settings::kEarlyReleaseOn ||
        (pg::settings::early_release == pg::settings::kEarlyReleaseStatement &&
         !IsTransactionBlock())) {
        NoteEarlyRelease();
    }
}

void CheckKeyLimit(size_t more) {
    const auto limit = static_cast<size_t>(pg::settings::max_keys_per_transaction);
    if (HoldSet::size() + more > limit) {
        throw pg::SqlError(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                           "a transaction can lock at most " + std::to_string(limit) + " keys", {},
                           "Use smaller transactions, or raise "
                           "inventory_lock.max_keys_per_transaction together with "
                           "max_locks_per_transaction.");
    }
}

Hold *AddHold(const LockRequest &request) {
    Hold *hold =
        HoldSet::Add(request.key, shared::HashKey(request.key), request.kind, request.mode);
    hold->ttl_ms = request.ttl_ms > 0 ? request.ttl_ms : DefaultTtlMs(request.kind);
    IL_INJECT("hold-added");
    JoinEntry(hold);
    return hold;
}

Grant GrantOf(const Hold &hold) {
    return Grant{hold.fence, hold.leased};
}

// The hold that serves the request already; nullptr = none.
Hold *FindHold(const LockRequest &request) {
    if (HoldSet::size() == 0) {
        return nullptr;
    }
    const uint64 hash = shared::HashKey(request.key);
    Hold *hold = HoldSet::Find(request.key, hash, LockMode::kExclusive);
    if (hold == nullptr && request.mode == LockMode::kIntent) {
        hold = HoldSet::Find(request.key, hash, LockMode::kIntent);
    }
    return hold;
}

void RefuseUpgrade(const LockRequest &request) {
    if (request.mode == LockMode::kExclusive && HoldSet::size() > 0 &&
        HoldSet::Find(request.key, shared::HashKey(request.key), LockMode::kIntent) != nullptr) {
        throw pg::SqlError(
            ERRCODE_ACTIVE_SQL_TRANSACTION,
            "lock \"" + request.key + "\" must be taken before the product's variants are changed",
            "This transaction has changed or locked one of them already, as others may have.",
            "Call acquire_product_lock() first, or in a transaction of its own.");
    }
}

// The order of locking: locks on requests and users' own before products, these before variants,
// then by key.
bool Before(const LockRequest *a, const LockRequest *b) {
    const auto rank = [](const LockRequest *request) {
        return request->kind != LockKind::kInventory ? 0
               : request->mode == LockMode::kIntent  ? 1
                                                     : 2;
    };
    return rank(a) != rank(b) ? rank(a) < rank(b) : a->key < b->key;
}

// What a LockSequence asks for at a time while its caller works: few, for the first are waited for
// with nothing to do, and later ones are to come while as many are worked off.
constexpr size_t kKeysAhead = 256;

// Moves *next to the first hold that has its gate alone, and counts those from there on, as many as
// one request may ask for.
size_t Outstanding(size_t *next, size_t end, size_t limit = shared::kMaxKeysPerRequest) {
    const auto outstanding = [](size_t i) {
        const Hold *hold = HoldSet::begin() + i;
        return hold->since_us == 0 && !hold->ending;
    };
    while (*next < end && !outstanding(*next)) {
        ++*next;
    }
    size_t count = 0;
    while (count < limit && *next + count < end && outstanding(*next + count)) {
        count++;
    }
    return count;
}

// Takes the leases that a LockSequence of the calling call has not come to yet.
void TakeOutstanding(WaitBudget &budget) {
    size_t next = 0;
    while (const size_t count = Outstanding(&next, HoldSet::size())) {
        if (TakeLeases(next, count, budget.no_wait(), budget) == Leased::kBusy) {
            ThrowTimedOut(HoldSet::begin() + next);
        }
        next += count;
    }
}

}  // namespace

void LockSequence::LongestWait::Note(double waited_ms, size_t number, const std::string &who) {
    if (waited_ms > ms) {
        *this = {waited_ms, number, who.empty() ? "-" : who};
    }
}

LockSequence::LockSequence(const std::vector<LockRequest> &requests, WaitBudget &budget) {
    CheckContext();
    VerifyHolds(false);
    std::vector<const LockRequest *> sorted;
    bool outstanding = false;
    for (const LockRequest &request : requests) {
        if (const Hold *hold = FindHold(request)) {
            outstanding = outstanding || hold->since_us == 0;
        } else {
            RefuseUpgrade(request);
            sorted.push_back(&request);
        }
    }
    auto same = [](const LockRequest *a, const LockRequest *b) {
        return a->mode == b->mode && a->key == b->key;
    };
    if (!std::is_sorted(sorted.begin(), sorted.end(), Before)) {
        std::sort(sorted.begin(), sorted.end(), Before);
    }
    sorted.erase(std::unique(sorted.begin(), sorted.end(), same), sorted.end());
    if (outstanding || !sorted.empty()) {
        TakeOutstanding(budget);
    }
    first_ = next_ = end_ = HoldSet::size();
    if (!sorted.empty()) {
        TakeGates(sorted, budget);
    }
}

void LockSequence::TakeGates(const std::vector<const LockRequest *> &sorted, WaitBudget &budget) {
    CheckKeyLimit(sorted.size());
    HoldSet::Reserve(sorted.size());
    ConsiderEarlyRelease();
    const bool noting = pg::settings::log_min_wait_ms >= 0;
    longest_.hold = first_;
    for (const LockRequest *request : sorted) {
        Hold *hold = AddHold(*request);
        IL_INJECT("joined");
        const double before_ms = budget.WaitedMs();
        const std::string holder = noting ? LocalHolder(*hold) : std::string();
        if (TakeGate(*hold, budget) != GateResult::kGot) {
            ThrowTimedOut(hold);
        }
        if (noting) {
            longest_.Note(budget.WaitedMs() - before_ms, HoldSet::size() - 1, holder);
        }
    }
    end_ = HoldSet::size();
    gate_ms_ = budget.WaitedMs();
    IL_INJECT("gate-got");
}

void LockSequence::TakeLeasesOfNext(bool ask_ahead, WaitBudget &budget) {
    const size_t limit = ask_ahead ? kKeysAhead : shared::kMaxKeysPerRequest;
    const size_t count = Outstanding(&next_, end_, limit);
    if (count == 0) {
        return;
    }
    const double before_ms = budget.WaitedMs();
    if (TakeLeases(next_, count, budget.no_wait(), budget) == Leased::kBusy) {
        ThrowTimedOut(HoldSet::begin() + next_);
    }
    IL_INJECT("lease-got");
    LogGrants(next_, count, budget);
    const bool noting = pg::settings::log_min_wait_ms >= 0;
    if (noting) {
        NoteLeaseWait(next_, count, budget.WaitedMs() - before_ms);
    }
    next_ += count;
    size_t following = next_;
    const size_t more = Outstanding(&following, end_, limit);
    if (more > 0 && ask_ahead && !budget.no_wait()) {
        AskForLeasesAhead(following, more);
    }
    if (more == 0 && noting) {
        LogSlowWait(budget);
    }
}

// Who elsewhere had one of the keys when their leases were asked for.
void LockSequence::NoteLeaseWait(size_t first, size_t count, double waited_ms) {
    for (size_t i = first; i < first + count; i++) {
        const Hold *hold = HoldSet::begin() + i;
        if (hold->entry < 0) {
            continue;
        }
        shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
        char token[shared::kBlockerBytes];
        SpinLockAcquire(&entry->mutex);
        memcpy(token, entry->waited_for, sizeof(token));
        SpinLockRelease(&entry->mutex);
        if (token[0] != '\0') {
            longest_.Note(waited_ms, i, token);
            return;
        }
    }
    longest_.Note(waited_ms, first, "");
}

// One line for a call that waited long: for which key, who had it, and where the time went.
void LockSequence::LogSlowWait(const WaitBudget &budget) const {
    const int limit = pg::settings::log_min_wait_ms;
    if (limit < 0 || budget.WaitedMs() < limit) {
        return;
    }
    const double waited_ms = budget.WaitedMs();
    const char *holder = longest_.holder.empty() ? "-" : longest_.holder.c_str();
    pg::Call([&] {
        const Hold *hold = HoldSet::begin() + longest_.hold;
        ereport(LOG, (errmsg("slow lock: key=%s holder=%s keys=%zu protection=%s waited_ms=%.1f "
                             "gate_ms=%.1f lease_ms=%.1f",
                             hold->key, holder, end_ - first_, ProtectionOf(hold), waited_ms,
                             gate_ms_, waited_ms - gate_ms_)));
    });
}

void LockSequence::AskAhead(const WaitBudget &budget) {
    const size_t count = Outstanding(&next_, end_);
    if (count > 0 && !budget.no_wait()) {
        AskForLeasesAhead(next_, count);
    }
}

void LockSequence::AwaitAll(WaitBudget &budget) {
    while (next_ < end_) {
        TakeLeasesOfNext(false, budget);
    }
}

Grant LockSequence::Await(const LockRequest &request, WaitBudget &budget) {
    for (;;) {
        const Hold *hold = FindHold(request);
        if (hold != nullptr && hold->since_us != 0) {
            return GrantOf(*hold);
        }
        if (hold == nullptr || next_ >= end_) {
            throw pg::SqlError(ERRCODE_INTERNAL_ERROR, "lock \"" + request.key + "\" is not held");
        }
        TakeLeasesOfNext(true, budget);
    }
}

std::vector<Grant> AcquireLocks(const std::vector<LockRequest> &requests, WaitBudget &budget) {
    LockSequence(requests, budget).AwaitAll(budget);
    std::vector<Grant> grants;
    grants.reserve(requests.size());
    for (const LockRequest &request : requests) {
        grants.push_back(GrantOf(*FindHold(request)));
    }
    return grants;
}

std::optional<Grant> TryAcquireLock(const LockRequest &request) {
    CheckContext();
    VerifyHolds(false);
    WaitBudget outstanding = WaitBudget::From(nullptr);
    TakeOutstanding(outstanding);
    if (const Hold *held = FindHold(request)) {
        return GrantOf(*held);
    }
    RefuseUpgrade(request);
    CheckKeyLimit(1);
    HoldSet::Reserve(1);
    ConsiderEarlyRelease();
    Hold *hold = AddHold(request);
    WaitBudget budget = WaitBudget::NoWait();
    if (TakeGate(*hold, budget) != GateResult::kGot) {
        shared::Count(KindOf(hold), shared::Counter::kBusy);
        Forget(hold);
        return std::nullopt;
    }
    if (TakeLeases(HoldSet::size() - 1, 1, true, budget) == Leased::kBusy) {
        shared::Count(KindOf(hold), shared::Counter::kBusy);
        DropGate(*hold);
        IL_INJECT("try-gate-dropped");
        Forget(hold);
        return std::nullopt;
    }
    IL_INJECT("try-got");
    LogGrants(HoldSet::size() - 1, 1, budget);
    return GrantOf(*hold);
}

std::optional<Grant> HeldLock(const std::string &key) {
    const Hold *hold = HoldSet::Find(key, shared::HashKey(key));
    return hold != nullptr && hold->since_us != 0 ? std::optional<Grant>(GrantOf(*hold))
                                                  : std::nullopt;
}

Grant FenceAbove(const std::string &key, uint64 row_fence) {
    Hold *hold = HoldSet::Find(key, shared::HashKey(key));
    if (hold == nullptr || hold->since_us == 0) {
        throw pg::SqlError(ERRCODE_INTERNAL_ERROR, "lock \"" + key + "\" is not held");
    }
    if (hold->fence > row_fence) {
        return GrantOf(*hold);
    }
    uint64 fence = row_fence + 1;
    if (hold->leased && !BreakerOpen()) {
        VerifyHold(hold, MarginUs(hold->ttl_ms));
        WaitBudget budget = WaitBudget::UntilRenewed();
        const LeaseAnswer answer =
            AskWorker(shared::Operation::kRaise, {hold->entry}, false, row_fence, budget);
        if (answer.outcome == shared::Outcome::kLost) {
            ThrowLost(hold);
        }
        if (answer.outcome == shared::Outcome::kGranted) {
            fence = std::max(fence, answer.fence);
        }
        VerifyHold(hold, MarginUs(hold->ttl_ms));
    }
    if (hold->entry >= 0) {
        shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
        SpinLockAcquire(&entry->mutex);
        fence = std::max(fence, entry->next_fence);
        entry->next_fence = fence + 1;
        SpinLockRelease(&entry->mutex);
    }
    IL_INJECT("fence-raised");
    hold->fence = fence;
    shared::Count(KindOf(hold), shared::Counter::kRaised);
    return GrantOf(*hold);
}

void CheckHolds() {
    VerifyHolds(false);
}

}  // namespace inventory_lock::locking
