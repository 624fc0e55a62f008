// The keeper's unused leases that are kept for their next user (lease_linger). See keeper.hpp.
//
// Runs in: the worker.
//
// `may_linger` of an entry decides. It is set at a grant, on a key that no other kind of client was
// seen on, and cleared under the entry's spinlock as soon as somebody else wants the key, when the
// setting is switched off, and by a new worker. While it is set, the last user of the lease does
// not wake the worker (shared::Leave), which therefore looks at every such lease at least once in
// the time that it may linger. Once it is cleared he does, and the lease goes at once. A lease that
// lingers is never renewed, and goes when half of its life is over.

#include "pg/boundary.hpp"
#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

namespace {

constexpr int64 kMakeRoomEveryUs = 10 * kUsPerMs;

}  // namespace

// How long the unused lease is kept; 0 = no longer.
int64 Keeper::LingersUntilUs(int32 index, const View &view) const {
    const uint32 session = local_[static_cast<size_t>(index)].session;
    if (!view.may_linger || active_ == nullptr || session != active_->id ||
        shared::Crowded(shared::Leases())) {
        return 0;
    }
    return std::min(view.idle_since_us + linger_ms_ * kUsPerMs,
                    view.deadline_us - view.ttl_ms * kUsPerMs / 2);
}

// When to look at a lease that is in use, at `when_us` the latest: nobody tells when one that may
// linger falls idle.
int64 Keeper::LookAgainUs(int32 index, int64 when_us, int64 now_us) const {
    if (linger_ms_ == 0 || !ViewOf(EntryAt(index)).may_linger) {
        return when_us;
    }
    return std::min(when_us, now_us + linger_ms_ * kUsPerMs);
}

// Until the next grant. Whoever leaves the lease last from now on tells; when he has left already,
// it goes now.
void Keeper::StopLingering(int32 index, int64 now_us) {
    shared::LeaseEntry *entry = EntryAt(index);
    bool idle = false;
    Locked(entry, [&] {
        entry->may_linger = false;
        idle = entry->state == shared::LeaseState::kHeld && entry->interest == 0;
    });
    if (idle) {
        Release(index, 0, now_us, Unless::kWanted);
    }
}

// The setting has changed.
void Keeper::OnLingerChanged(int64 now_us) {
    linger_ms_ = pg::settings::lease_linger_ms;
    for (size_t i = 0; i < local_.size(); i++) {
        const auto index = static_cast<int32>(i);
        const View view = ViewOf(EntryAt(index));
        if (view.state != shared::LeaseState::kHeld || !view.may_linger) {
            continue;
        }
        if (linger_ms_ == 0) {
            StopLingering(index, now_us);
        } else {
            CheckAt(index, now_us);
        }
    }
}

// Leases that only linger must leave room for the keys that are in use.
void Keeper::MakeRoom(int64 now_us) {
    if (linger_ms_ > 0 && shared::Crowded(shared::Leases()) &&
        now_us - room_made_us_ >= kMakeRoomEveryUs) {
        room_made_us_ = now_us;
        ReleaseIdle(now_us);
    }
}

}  // namespace inventory_lock::worker
