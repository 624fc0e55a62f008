// Deadlocks between clusters: wait-for edges in Redis. See keeper.hpp.
//
// Runs in: the worker. A transaction that waits while it holds leases publishes, under each token
// it holds, what it wants (il:wait:<token>, with a life of one second, refreshed at every poll).
// Who waits for a lease also follows the edges from the key it wants. When the path comes back to a
// token of its own, the waiter with the highest fence among those that wait for a lease is the
// victim: it has worked the least since its last grant. It gives way only after it has seen the
// same waits twice, one poll apart, so that an edge that was about to vanish does no harm. Waiters
// at a local gate publish but are never the victim; every circle between clusters has waiters for
// leases, one at least in each cluster. Who has a gate may have no lease yet, and so no edge of his
// own: whoever waits at that gate publishes what he waits for.

#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

namespace {

constexpr int64 kEdgeLifeMs = 1000;

}  // namespace

void Keeper::WatchWaits(int64 now_us) {
    shared::SlotArray *slots = shared::Slots();
    if (pg_atomic_read_u32(&slots->waiting) == 0) {
        suspects_.clear();
        waits_due_us_ = INT64_MAX;
        return;
    }
    if (waits_due_us_ != INT64_MAX && now_us < waits_due_us_) {
        return;
    }
    waits_due_us_ = now_us + std::min(RetryUs(), kEdgeLifeMs * kUsPerMs / 3);
    for (int32 index = 0; index < slots->count; index++) {
        if (pg_atomic_read_u32(&shared::SlotAt(slots, index)->wait.kind) !=
            static_cast<uint32>(shared::WaitKind::kNone)) {
            PublishWait(index, now_us);
        }
    }
}

void Keeper::PublishWait(int32 slot, int64 now_us) {
    shared::WaitRecord *record = &shared::SlotAt(shared::Slots(), slot)->wait;
    redis::WaitEdge edge;
    edge.id = pg_atomic_read_u64(&record->id);
    edge.for_lease =
        pg_atomic_read_u32(&record->kind) == static_cast<uint32>(shared::WaitKind::kLease);
    pg_read_barrier();
    edge.fence = record->fence;
    auto wanted = static_cast<int32>(record->wanted);
    std::vector<int32> held;
    for (uint32 i = 0; i < std::min(record->held_count, shared::kMaxHeldTold); i++) {
        held.push_back(static_cast<int32>(record->held[i]));
    }
    pg_read_barrier();
    if (pg_atomic_read_u64(&record->id) != edge.id) {
        return;
    }
    if (edge.for_lease) {  // of several wanted keys, the one that somebody else has
        const auto request = requests_.find(slot);
        if (request == requests_.end() || !request->second.blocked) {
            return;
        }
        wanted = request->second.blocked_entry;
    }
    const auto valid = [&](int32 entry) {
        return entry >= 0 && static_cast<size_t>(entry) < local_.size();
    };
    if (!edge.for_lease && valid(wanted)) {
        wanted = WantedBehindGate(wanted, held, now_us);
    }
    std::vector<std::string> tokens;
    for (const int32 entry : held) {
        if (valid(entry) && ViewOf(EntryAt(entry)).state == shared::LeaseState::kHeld) {
            tokens.emplace_back(EntryAt(entry)->token);
        }
    }
    if (!valid(wanted) || tokens.empty() || active_ == nullptr) {
        return;
    }
    const int lane = PickLane(*active_, kNoLane, EntryAt(wanted)->hash);
    if (lane == kNoLane) {
        return;
    }
    const std::string key = KeyOf(wanted);
    pg_read_barrier();
    if (pg_atomic_read_u32(&record->kind) == static_cast<uint32>(shared::WaitKind::kNone) ||
        pg_atomic_read_u64(&record->id) != edge.id) {
        return;  // the wait is over, and the entry may have been freed for another key
    }
    // Ids of different clusters must differ: half of it comes from the instance.
    edge.id = (shared::HashKey(token_prefix_) << 32 | (edge.id & 0xFFFFFFFF)) >> 1;
    Operation operation;
    operation.purpose = Purpose::kWaits;
    operation.parts.resize(1);
    operation.parts[0].entry = wanted;
    operation.slot = slot;
    operation.number = edge.id;
    operation.fence = edge.fence;
    operation.command = redis::MakeWaits(key, tokens, edge, kEdgeLifeMs);
    Send(*active_, lane, std::move(operation), now_us);
}

// What somebody at the gate of an entry, who has `held`, waits for: that key; or the one that who
// has the gate waits for, if somebody else has it. If that is a shared key whose newcomers are to
// wait until its users have gone, and one of them waits here, he joins them.
int32 Keeper::WantedBehindGate(int32 gate, const std::vector<int32> &held, int64 now_us) {
    const auto found = requests_.find(local_[static_cast<size_t>(gate)].waiter);
    if (found == requests_.end()) {
        return gate;
    }
    Request &request = found->second;
    if (request.blocked) {
        return request.blocked_entry;
    }
    bool joins = false;
    for (const int32 entry : request.entries) {
        if (IsIntent(entry) && std::find(held.begin(), held.end(), entry) != held.end()) {
            Locked(EntryAt(entry), [&] { EntryAt(entry)->tenure_start_us = now_us; });
            joins = true;
        }
    }
    if (joins) {
        WaitUntil(request, now_us);
    }
    return gate;
}

void Keeper::OnWaits(const Operation &operation, const redis::WaitsAnswer &answer) {
    if (!answer.ok || !answer.cycle) {
        suspects_.erase(operation.slot);
        return;
    }
    std::vector<uint64> ids = {operation.number};
    bool highest = true;
    for (const redis::WaitEdge &edge : answer.path) {
        ids.push_back(edge.id);
        if (edge.for_lease && edge.fence > operation.fence) {
            highest = false;
        }
    }
    std::sort(ids.begin(), ids.end());
    std::vector<uint64> &before = suspects_[operation.slot];
    if (before != ids) {
        before = std::move(ids);
        return;
    }
    const auto request = requests_.find(operation.slot);
    if (highest && request != requests_.end() && request->second.blocked &&
        request->second.taken_us <= operation.sent_us && !request->second.in_flight) {
        suspects_.erase(operation.slot);
        Answer(request->second, shared::Outcome::kDeadlock,
               static_cast<uint32>(operation.parts[0].entry));
    }
}

}  // namespace inventory_lock::worker
