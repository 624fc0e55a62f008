// Looking at keys and freeing them by force; see administration.hpp. Runs in: backends.

#include "locking/administration.hpp"

#include "locking/hold_set.hpp"
#include "locking/lease_request.hpp"
#include "locking/transaction_end.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

namespace inventory_lock::locking {

namespace {

// Asks about one key. The entry is joined through the hold set, so that an error cannot leave the
// count behind; the hold never gets the gate and is forgotten at once.
KeyAnswer AskAbout(const std::string &key, shared::Operation operation, int32 *holder_pid,
                   std::string *token, uint64 *fence) {
    if (shared::Get() == nullptr || !pg::settings::RedisConfigured()) {
        return KeyAnswer::kUnavailable;
    }
    EnsureExitCallback();
    HoldSet::Reserve(1);
    const uint64 hash = shared::HashKey(key);
    Hold *hold = HoldSet::Add(key, hash, LockKind::kCustom);
    const int32 index = pg::Call([&] {
        return shared::Join(shared::Leases(), hold->key, hold->key_length, hash,
                            static_cast<uint8>(LockKind::kCustom), 0);
    });
    if (index < 0) {
        HoldSet::RemoveLast();
        throw pg::SqlError(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                           "too many keys are locked at the same time", {},
                           "Raise inventory_lock.max_leases and restart the server.");
    }
    hold->entry = index;
    WaitBudget budget = WaitBudget::UntilRenewed();
    const LeaseAnswer answer = AskWorker(operation, {index}, true, 0, budget);
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), index);
    SpinLockAcquire(&entry->mutex);
    const int32 pid = entry->holder_pid;
    const uint64 known = entry->next_fence - 1;
    const shared::Blocker blocker = entry->blocker;
    SpinLockRelease(&entry->mutex);
    if (fence != nullptr) {
        *fence = std::max(known, answer.fence);
    }
    if (holder_pid != nullptr) {
        *holder_pid = pid;
    }
    if (token != nullptr) {
        *token = blocker.token;
    }
    if (shared::Leave(shared::Leases(), index)) {
        shared::WakeWorker();
    }
    HoldSet::RemoveLast();
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

KeyAnswer ForceRelease(const std::string &key, int32 *holder_pid) {
    return AskAbout(key, shared::Operation::kForce, holder_pid, nullptr, nullptr);
}

KeyAnswer InspectKey(const std::string &key, std::string *token) {
    return AskAbout(key, shared::Operation::kInspect, nullptr, token, nullptr);
}

uint64 HighestFence(const std::string &key) {
    uint64 fence = 0;
    (void)AskAbout(key, shared::Operation::kFence, nullptr, nullptr, &fence);
    return fence;
}

}  // namespace inventory_lock::locking
