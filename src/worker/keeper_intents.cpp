// The keeper's shared keys: a product's key is one lease for all transactions of this cluster that
// have an intent on it, and another one for who has it alone. See keeper.hpp.
//
// Runs in: the worker.
//
// In Redis the two exclude each other, and so would this cluster's own: whoever waits for one of
// the leases has the gate, but those who wait at the gate behind him keep the interest in the other
// one up. So before one is asked for, the other is given up as soon as nobody uses it (`holders`);
// the gate sees to it that nobody takes it over meanwhile. An intent is used by many at a time:
// it is never released under them, and when it is another cluster's turn newcomers wait until they
// have gone. Several requests may want one intent at a time; each is told when something changes.
//
// Clusters that share a key write to it. Each is woken by what the others write, and must not
// answer with a write: it only looks (Verify).

#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

bool Keeper::IsIntent(int32 index) const {
    return EntryAt(index)->mode == shared::LeaseMode::kIntent;
}

Keeper::Unless Keeper::UnlessUsed(int32 index) const {
    return IsIntent(index) ? Unless::kUsed : Unless::kNever;
}

// The entry of the same key in the other mode; -1 = none.
int32 Keeper::PartnerOf(int32 index) const {
    const shared::LeaseEntry *entry = EntryAt(index);
    const std::string_view key(entry->key, entry->key_length);
    if (key.substr(0, shared::kSharedKeys.size()) != shared::kSharedKeys) {
        return -1;
    }
    return FindKey(key,
                   IsIntent(index) ? shared::LeaseMode::kExclusive : shared::LeaseMode::kIntent);
}

// kNeed when this cluster has nothing of the key in the other mode. Otherwise sees to it.
Keeper::Step Keeper::MakeWay(int32 index, int64 now_us) {
    const int32 partner = PartnerOf(index);
    if (partner < 0) {
        return Step::kNeed;
    }
    switch (ViewOf(EntryAt(partner)).state) {
        case shared::LeaseState::kAbsent:
            return Step::kNeed;
        case shared::LeaseState::kHeld:
        case shared::LeaseState::kLost:  // its token may still be there
            Release(partner, 0, now_us, Unless::kUsed);
            break;
        case shared::LeaseState::kUnknown:
            if (AbandonedServer(partner, now_us)) {
                MarkAbsent(partner, now_us);
            }
            break;
        case shared::LeaseState::kAcquiring:
        case shared::LeaseState::kReleasing:
            break;
    }
    const shared::LeaseState state = ViewOf(EntryAt(partner)).state;
    return state == shared::LeaseState::kAbsent                                       ? Step::kNeed
           : state == shared::LeaseState::kHeld || state == shared::LeaseState::kLost ? Step::kBusy
                                                                                      : Step::kWait;
}

// Is the entry, or its partner, where nobody can be asked at present?
bool Keeper::Stuck(int32 index) const {
    const int32 partner = PartnerOf(index);
    return ViewOf(EntryAt(index)).state == shared::LeaseState::kUnknown ||
           (partner >= 0 && ViewOf(EntryAt(partner)).state == shared::LeaseState::kUnknown);
}

// All requests that want the entry try again, once this one has been worked off.
void Keeper::PokeSharers(int32 index, int64 now_us) {
    for (auto &item : requests_) {
        Request &request = item.second;
        const bool wants = std::find(request.entries.begin(), request.entries.end(), index) !=
                           request.entries.end();
        if (wants && !request.in_flight && item.first != starting_) {
            WaitUntil(request, now_us);
        }
    }
}

// Somebody else wrote the key.
void Keeper::OnKeyChanged(int32 index) {
    Local &local = local_[static_cast<size_t>(index)];
    const shared::LeaseState state = ViewOf(EntryAt(index)).state;
    if (state == shared::LeaseState::kHeld) {
        Verify(index, now_us_);  // a hint; the key itself decides
    } else if (state == shared::LeaseState::kAcquiring) {
        local.dirty = true;
    } else {
        const auto request = requests_.find(local.waiter);
        if (request != requests_.end() && request->second.blocked) {
            shared::Count(shared::Total::kWokenByTracking);
        }
        Poke(index, now_us_);
    }
}

// Another cluster wants the key.
void Keeper::OnWanted(int32 index) {
    local_[static_cast<size_t>(index)].contended_until_us = now_us_ + 2 * RetryUs();
    StopLingering(index, now_us_);
}

// The key was deleted by order.
void Keeper::OnForced(std::string_view key, int64 now_us) {
    for (const shared::LeaseMode mode :
         {shared::LeaseMode::kExclusive, shared::LeaseMode::kIntent}) {
        const int32 lost = FindKey(key, mode);
        if (lost >= 0 && ViewOf(EntryAt(lost)).state == shared::LeaseState::kHeld) {
            MarkLost(lost, shared::LostReason::kForced, now_us);
        }
    }
}

}  // namespace inventory_lock::worker
