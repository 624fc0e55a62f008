// Checks leases; see hold_check.hpp. Runs in: backends.

#include "locking/hold_check.hpp"

#include "locking/lease_request.hpp"
#include "pg/clock.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

namespace inventory_lock::locking {

namespace {

constexpr int64 kUsPerMs = 1000;

enum class LeaseCheck : uint8 { kGood, kShort, kGone };

LeaseCheck Look(const Hold &hold, int64 margin_us) {
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold.entry);
    const int64 now_us = pg::BootUs();
    SpinLockAcquire(&entry->mutex);
    const bool same =
        entry->generation == hold.generation && entry->state == shared::LeaseState::kHeld;
    const int64 left_us = entry->deadline_us - now_us;
    SpinLockRelease(&entry->mutex);
    if (!same || left_us <= 0) {
        return LeaseCheck::kGone;
    }
    return left_us >= margin_us ? LeaseCheck::kGood : LeaseCheck::kShort;
}

const char *LostBecause(const Hold &hold) {
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold.entry);
    SpinLockAcquire(&entry->mutex);
    const shared::LostReason reason = entry->lost_reason;
    const int64 now_us = pg::BootUs();
    const bool expired = entry->deadline_us <= now_us;
    SpinLockRelease(&entry->mutex);
    const bool too_long = now_us - hold.since_us > pg::settings::max_hold_ms * kUsPerMs;
    if (too_long &&
        (reason == shared::LostReason::kNone || reason == shared::LostReason::kExpired)) {
        return "It was held for longer than inventory_lock.max_hold, and so not renewed any more.";
    }
    switch (reason) {
        case shared::LostReason::kDeleted:
            return "The lock's key was deleted in Redis.";
        case shared::LostReason::kTaken:
            return "Another client took the lock's key in Redis.";
        case shared::LostReason::kForced:
            return "The lock was released by an administrator.";
        case shared::LostReason::kExpired:
            return "The lock's time to live ended before it could be renewed.";
        case shared::LostReason::kNone:
            break;
    }
    return expired ? "The lock's time to live ended before it could be renewed."
                   : "The lock could not be renewed in time.";
}

}  // namespace

int64 MarginUs(int64 ttl_ms) {
    return pg::settings::LeaseMarginMs(ttl_ms) * kUsPerMs;
}

void ThrowLost(Hold *hold) {
    if (!hold->doomed) {
        hold->doomed = true;
        shared::Count(static_cast<uint8>(hold->kind), shared::Counter::kLost);
    }
    throw pg::SqlError(pg::kLockLost, "lock \"" + std::string(hold->key) + "\" was lost",
                       LostBecause(*hold),
                       "Nothing of this transaction is kept; it can be tried again.");
}

void VerifyHold(Hold *hold, int64 margin_us) {
    if (hold->doomed) {
        ThrowLost(hold);
    }
    if (!hold->leased || hold->entry < 0) {
        return;
    }
    LeaseCheck check = Look(*hold, margin_us);
    if (check == LeaseCheck::kShort) {
        IL_INJECT("renewal-asked");
        WaitBudget budget = WaitBudget::UntilRenewed();
        (void)AskWorker(shared::Operation::kRenew, {hold->entry}, false, 0, budget);
        check = Look(*hold, margin_us);
    }
    if (check != LeaseCheck::kGood) {
        ThrowLost(hold);
    }
}

void VerifyHolds(bool before_commit) {
    for (size_t i = 0; i < HoldSet::size(); i++) {
        Hold *hold = HoldSet::begin() + i;
        if (!hold->ending && hold->since_us != 0) {
            const int64 margin_ms =
                std::min<int64>(pg::settings::commit_margin_ms, hold->ttl_ms / 2);
            VerifyHold(hold, before_commit ? margin_ms * kUsPerMs : MarginUs(hold->ttl_ms));
        }
    }
}

}  // namespace inventory_lock::locking
