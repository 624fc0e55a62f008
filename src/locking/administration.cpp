// Looking at keys and freeing them by force; see administration.hpp. Runs in: backends.

#include "locking/administration.hpp"

#include "locking/hold_set.hpp"
#include "locking/lease_request.hpp"
#include "locking/lease_taking.hpp"
#include "locking/lock_name.hpp"
#include "locking/transaction_end.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

namespace inventory_lock::locking {

namespace {

constexpr int64 kUsPerMs = 1000;

// What was heard about a key, from Redis and from the lease table.
struct Heard {
    LeaseAnswer answer;
    uint64 known_fence = 0;
    std::string blocker;
};

LockKind KindOfKey(std::string_view key) {
    if (StartsWith(key, kStockPrefix)) {
        return LockKind::kInventory;
    }
    return StartsWith(key, kOrderPrefix) ? LockKind::kOrder : LockKind::kCustom;
}

// Asks about one key. The entry is joined through the hold set, so that an error cannot leave the
// count behind; the hold never gets the gate and is forgotten at once.
Heard Ask(const std::string &key, shared::Operation operation, uint64 argument) {
    Heard heard;
    if (MissingConfiguration()) {
        return heard;
    }
    EnsureExitCallback();
    HoldSet::Reserve(1);
    const uint64 hash = shared::HashKey(key);
    Hold *hold = HoldSet::Add(key, hash, KindOfKey(key), LockMode::kExclusive);
    const int32 index = pg::Call([&] {
        return shared::Join(shared::Leases(), hold->key, hold->key_length, hash,
                            static_cast<uint8>(hold->kind), shared::LeaseMode::kExclusive, 0);
    });
    if (index < 0) {
        HoldSet::RemoveLast();
        throw pg::SqlError(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                           "too many keys are locked at the same time", {},
                           "Raise inventory_lock.max_leases and restart the server.");
    }
    hold->entry = index;
    WaitBudget budget = WaitBudget::UntilRenewed();
    heard.answer = AskWorker(operation, {index}, true, argument, budget);
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), index);
    SpinLockAcquire(&entry->mutex);
    heard.known_fence = entry->next_fence - 1;
    const shared::Blocker blocker = entry->blocker;
    SpinLockRelease(&entry->mutex);
    heard.blocker = blocker.token;
    if (shared::Leave(shared::Leases(), index)) {
        shared::WakeWorker();
    }
    HoldSet::RemoveLast();
    return heard;
}

KeyAnswer Meaning(const LeaseAnswer &answer) {
    switch (answer.outcome) {
        case shared::Outcome::kGranted:
        case shared::Outcome::kBusy:
            return KeyAnswer::kThere;
        case shared::Outcome::kAbsent:
            return KeyAnswer::kAbsent;
        case shared::Outcome::kNone:
        case shared::Outcome::kDeadlock:
        case shared::Outcome::kLost:
        case shared::Outcome::kUnavailable:
            break;
    }
    return KeyAnswer::kUnavailable;
}

}  // namespace

KeyAnswer ForceRelease(const std::string &key) {
    return Meaning(Ask(key, shared::Operation::kForce, 0).answer);
}

KeyAnswer InspectKey(const std::string &key, std::string *token) {
    const Heard heard = Ask(key, shared::Operation::kInspect, 0);
    *token = heard.blocker;
    return Meaning(heard.answer);
}

uint64 HighestFence(const std::string &key) {
    const Heard heard = Ask(key, shared::Operation::kFence, 0);
    return std::max(heard.known_fence, heard.answer.fence);
}

std::optional<uint64> DeleteKeysOf(const std::string &prefix) {
    uint64 deleted = 0;
    uint64 cursor = 0;
    do {
        pg::Call([] { CHECK_FOR_INTERRUPTS(); });
        const Heard heard = Ask(prefix, shared::Operation::kClear, cursor);
        if (heard.answer.outcome != shared::Outcome::kGranted) {
            return std::nullopt;
        }
        deleted += heard.answer.blocked_entry;
        cursor = heard.answer.fence;
    } while (cursor != 0);
    return deleted;
}

std::vector<Holder> HoldersOf(const std::string &prefix) {
    std::vector<Holder> holders;
    if (shared::Get() == nullptr) {
        return holders;
    }
    shared::ForEachEntry(shared::Leases(), [&](int32, const shared::LeaseEntry &entry) {
        if (entry.holder_pid != 0 && entry.holder_pid != MyProcPid &&
            StartsWith(entry.key, prefix)) {
            holders.push_back({entry.key, entry.holder_pid});
        }
    });
    return holders;
}

std::optional<std::vector<ForeignLock>> ListForeignLocks(bool *more) {
    shared::State *state = shared::Get();
    if (state == nullptr || !pg::settings::ReplicaConfigured() || !WorkerServes()) {
        return std::nullopt;
    }
    WaitBudget budget = WaitBudget::From(nullptr);
    const LeaseAnswer answer = AskWorker(shared::Operation::kForeign, {}, true, 0, budget);
    if (answer.outcome != shared::Outcome::kGranted) {
        return std::nullopt;
    }
    shared::LeaseTable *leases = shared::Leases();
    const shared::ForeignLocks *list = &state->foreign_locks;
    std::vector<shared::ForeignLock> copies(static_cast<size_t>(shared::kForeignLocks));
    pg::Call([&] { LWLockAcquire(shared::ForeignLocksLock(leases), LW_SHARED); });
    copies.resize(static_cast<size_t>(list->count));
    std::copy(list->locks, list->locks + list->count, copies.begin());
    *more = list->more;
    pg::Call([&] { LWLockRelease(shared::ForeignLocksLock(leases)); });

    const int64 now_us = pg::BootUs();
    std::vector<ForeignLock> locks;
    for (const shared::ForeignLock &copy : copies) {
        std::optional<int64> ttl_ms;
        if (copy.until_us >= 0) {
            ttl_ms = std::max<int64>((copy.until_us - now_us) / kUsPerMs, 0);
        }
        locks.push_back({copy.key, KindOfKey(copy.key), copy.token, ttl_ms});
    }
    return locks;
}

int32 HolderOf(const std::string &key) {
    if (shared::Get() == nullptr) {
        return 0;
    }
    const uint64 hash = shared::HashKey(key);
    shared::LeaseEntry entry;
    const bool found = pg::Call(
        [&] { return shared::Look(shared::Leases(), key.data(), key.size(), hash, &entry); });
    return found ? entry.holder_pid : 0;
}

bool IsShared(const std::string &key) {
    if (shared::Get() == nullptr) {
        return false;
    }
    const uint64 hash = shared::HashOfMode(shared::HashKey(key), shared::LeaseMode::kIntent);
    shared::LeaseEntry entry;
    return pg::Call([&] {
               return shared::Look(shared::Leases(), key.data(), key.size(), hash, &entry);
           }) &&
           entry.users > 0;
}

}  // namespace inventory_lock::locking
