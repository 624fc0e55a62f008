// The keeper's requests: taken from slots, started, made to wait, answered. See keeper.hpp.
// Runs in: the worker.

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

namespace {

constexpr int64 kSoonUs = 10 * kUsPerMs;  // behind an event that should come first
constexpr int64 kMinWantMs = 300;
constexpr int64 kMaxWantMs = 2000;

// One step through all keys: deletes those that match, and says which.
constexpr std::string_view kClearScript =
    "local step = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 200) "
    "local answer = {step[1]} "
    "for _, key in ipairs(step[2]) do "
    "if redis.call('DEL', key) == 1 then answer[#answer + 1] = key end "
    "end "
    "return answer";

}  // namespace

void Keeper::TakeWork(int64 now_us) {
    shared::LeaseTable *table = shared::Leases();
    shared::SlotArray *slots = shared::Slots();
    const bool left = table->work.taken != 0 || slots->filled.taken != 0;  // by an earlier worker
    for (uint32 next = shared::TakeAll(&table->work); next != 0;) {
        const auto index = static_cast<int32>(next - 1);
        next = shared::TakeOff(&table->work, &EntryAt(index)->work);
        LookAt(index, now_us);
    }
    MakeRoom(now_us);
    std::vector<int32> filled;
    for (uint32 next = shared::TakeAll(&slots->filled); next != 0;) {
        const auto index = static_cast<int32>(next - 1);
        next = shared::TakeOff(&slots->filled, &shared::SlotAt(slots, index)->work);
        filled.push_back(index);
    }
    for (auto it = filled.rbegin(); it != filled.rend(); ++it) {  // oldest first
        TakeSlot(*it, now_us);
    }
    if (left) {
        TakeWork(now_us);  // nobody wakes this worker for what was told to the earlier one
    }
}

void Keeper::TakeSlot(int32 index, int64 now_us) {
    shared::Slot *slot = shared::SlotAt(shared::Slots(), index);
    const uint64 word = pg_atomic_read_u64(&slot->word);
    const shared::SlotState state = shared::StateOf(word);
    if (state == shared::SlotState::kFilled) {
        if (!shared::Advance(slot, shared::RequestOf(word), state, shared::SlotState::kTaken)) {
            return;  // abandoned just now
        }
    } else if (state != shared::SlotState::kTaken) {
        return;
    }
    pg_read_barrier();
    if (slot->operation == shared::Operation::kForeign) {
        foreign_list_.Want(index, shared::RequestOf(word), now_us);
        return;
    }
    Request request;
    request.slot = index;
    request.number = shared::RequestOf(word);
    request.operation = slot->operation;
    request.no_wait = slot->no_wait;
    request.raise_above = slot->raise_above;
    request.taken_us = now_us;
    request.reachable_us = now_us;
    request.stuck_since_us = now_us;
    const uint32 count = std::min(slot->count, shared::kMaxKeysPerRequest);
    for (uint32 i = 0; i < count; i++) {
        const uint32 entry = slot->entries[i];
        if (entry < local_.size()) {
            request.entries.push_back(static_cast<int32>(entry));
        }
    }
    if (!Alive(request) || request.entries.empty()) {
        return;
    }
    IL_INJECT("worker-taken");
    requests_[index] = std::move(request);
    Request &taken = requests_[index];
    // Only who has the gate is woken for the entry; others may ask about it meanwhile.
    if (taken.operation == shared::Operation::kAcquire ||
        taken.operation == shared::Operation::kRenew ||
        taken.operation == shared::Operation::kRaise) {
        for (const int32 entry : taken.entries) {
            local_[static_cast<size_t>(entry)].waiter = index;
        }
    }
    Start(taken, now_us);
}

bool Keeper::Alive(const Request &request) const {
    return shared::IsTaken(shared::SlotAt(shared::Slots(), request.slot), request.number);
}

// Ends the request, answered or dropped. The reference is invalid afterwards.
void Keeper::Answer(Request &request, shared::Outcome outcome, uint32 blocked, uint64 fence) {
    shared::Slot *slot = shared::SlotAt(shared::Slots(), request.slot);
    const int32 index = request.slot;
    IL_INJECT("worker-answering");
    if (shared::Answer(slot, request.number, outcome, blocked, fence)) {
        IL_INJECT("worker-answered");
        shared::WakeProcess(index);
    }
    for (const int32 entry : request.entries) {
        Local &local = local_[static_cast<size_t>(entry)];
        if (local.waiter == index) {
            local.waiter = -1;
        }
    }
    requests_.erase(index);
}

void Keeper::WaitUntil(Request &request, int64 when_us) {
    request.retry_at_us = when_us;
    retries_.push({when_us, request.slot});
}

void Keeper::RetryDue(int64 now_us) {
    while (!retries_.empty() && retries_.top().first <= now_us) {
        const Timer timer = retries_.top();
        retries_.pop();
        const auto it = requests_.find(timer.second);
        if (it == requests_.end() || it->second.retry_at_us != timer.first) {
            continue;
        }
        if (it->second.blocked) {
            shared::Count(shared::Total::kWokenByPoll);
        }
        Start(it->second, now_us);
    }
}

// Something about the entry changed: whoever waits for it tries again.
void Keeper::Poke(int32 index, int64 now_us) {
    if (IsIntent(index)) {
        PokeSharers(index, now_us);
        return;
    }
    const int32 waiter = local_[static_cast<size_t>(index)].waiter;
    if (waiter < 0 || waiter == starting_) {
        return;
    }
    const auto it = requests_.find(waiter);
    if (it != requests_.end() && !it->second.in_flight) {
        Start(it->second, now_us);
    }
}

void Keeper::FailAll(int64) {
    std::vector<int32> slots;
    for (const auto &item : requests_) {
        slots.push_back(item.first);
    }
    for (const int32 slot : slots) {
        Answer(requests_[slot], shared::Outcome::kUnavailable);
    }
}

// Brings a request as far as it goes now.
void Keeper::Start(Request &request, int64 now_us) {
    request.retry_at_us = 0;
    if (!Alive(request)) {
        Answer(request, shared::Outcome::kNone);
        return;
    }
    if (request.in_flight) {
        return;
    }
    SendReleases(now_us);
    if (request.operation == shared::Operation::kRenew ||
        request.operation == shared::Operation::kRaise) {
        StartSimple(request, now_us);  // about a lease that we have: the breaker has no say
        return;
    }
    if (active_ == nullptr || !breaker_.closed()) {
        Answer(request, shared::Outcome::kUnavailable);
        return;
    }
    if (active_->AnyReady()) {
        request.reachable_us = now_us;
    } else if (now_us - request.reachable_us >= PatienceUs()) {
        Answer(request, shared::Outcome::kUnavailable);
        return;
    }
    if (request.operation != shared::Operation::kAcquire) {
        StartSimple(request, now_us);
        return;
    }
    std::vector<int32> need;
    bool wait = false;
    bool stuck = false;  // on a connection that died, with nobody there to ask
    int32 busy = -1;
    int64 wait_us = now_us + kSoonUs;
    const int32 starting = std::exchange(starting_, request.slot);
    for (const int32 index : request.entries) {
        const Local &local = local_[static_cast<size_t>(index)];
        if (local.stand_back_until_us > now_us) {
            wait = true;
            busy = index;
            wait_us = std::max(wait_us, local.stand_back_until_us);
            continue;
        }
        Step step = Prepare(index, now_us);
        if (step == Step::kNeed) {
            step = MakeWay(index, now_us);
        }
        switch (step) {
            case Step::kHave:
                break;
            case Step::kNeed:
                need.push_back(index);
                break;
            case Step::kBusy:
                busy = index;
                [[fallthrough]];
            case Step::kWait:
                wait = true;
                stuck = stuck || Stuck(index);
                break;
        }
    }
    if (!stuck) {
        request.stuck_since_us = now_us;
    }
    starting_ = starting;
    if (stuck && now_us - request.stuck_since_us >= PatienceUs()) {
        Answer(request, shared::Outcome::kUnavailable);
    } else if (busy >= 0 && request.no_wait) {
        Answer(request, shared::Outcome::kBusy, static_cast<uint32>(busy));
    } else if (wait) {
        WaitUntil(request, std::min(wait_us, request.reachable_us + PatienceUs()));
    } else if (need.empty()) {
        Answer(request, shared::Outcome::kGranted);
    } else {
        SendAcquire(request, need, now_us);
    }
}

// What has to happen to one entry before the request can have it.
Keeper::Step Keeper::Prepare(int32 index, int64 now_us) {
    Local &local = local_[static_cast<size_t>(index)];
    const View view = ViewOf(EntryAt(index));
    const bool here = local.session == active_->id;
    switch (view.state) {
        case shared::LeaseState::kAbsent:
            return Step::kNeed;
        case shared::LeaseState::kLost:
            return Step::kNeed;
        case shared::LeaseState::kUnknown:
            if (AbandonedServer(index, now_us)) {
                MarkAbsent(index, now_us);
                return Step::kNeed;
            }
            return Step::kWait;
        case shared::LeaseState::kAcquiring:
            return Step::kWait;
        case shared::LeaseState::kReleasing:
            // Refused by a server that was left: its TTL ends it.
            if (!here && local.release_alone) {
                MarkAbsent(index, now_us);
                return Step::kNeed;
            }
            // An acquisition can name one earlier token. With two releases under way (the lane died
            // over a release and the acquisition behind it) it waits for their acknowledgement, or
            // the first token would be forgotten if this lane died as well.
            return here && active_->Ready(local.lane) && EntryAt(index)->prev[0] == '\0'
                       ? Step::kNeed
                       : Step::kWait;
        case shared::LeaseState::kHeld:
            break;
    }
    if (now_us >= view.deadline_us) {
        MarkLost(index, shared::LostReason::kExpired, now_us);
        return Step::kNeed;
    }
    if (!here) {  // on a server that is no longer the configured one: move
        if (view.unflushed == 0) {
            Release(index, 0, now_us, UnlessUsed(index));
        }
        return Step::kWait;
    }
    const int64 margin_us = pg::settings::LeaseMarginMs(view.ttl_ms) * kUsPerMs;
    if (view.deadline_us - now_us < margin_us) {
        ExtendSoon(index);
        return Step::kWait;
    }
    if (now_us - view.tenure_start_us <= pg::settings::max_tenure_ms * kUsPerMs) {
        return Step::kHave;
    }
    const Turn_ turn = WhoseTurn(index, now_us);
    if (turn == Turn_::kOurs) {
        Locked(EntryAt(index), [&] { EntryAt(index)->tenure_start_us = now_us; });
        return Step::kHave;
    }
    if (turn == Turn_::kAsk) {
        AskIdleTime(index, now_us);
        return Step::kWait;
    }
    if (view.unflushed > 0 || (IsIntent(index) && view.holders > 0)) {
        return Step::kBusy;  // newcomers to a shared key wait until those who use it have gone
    }
    IL_INJECT("worker-yielding");
    shared::Count(shared::Total::kYields);
    if (turn == Turn_::kPollers) {
        local.gap_us = now_us;
        Release(index, RetryUs() * 11 / 10 / kUsPerMs, now_us, UnlessUsed(index));
    } else {
        // Another cluster that has missed its turn is further away than we thought.
        if (local.turn_given) {
            local.stand_back_us = std::min(2 * local.stand_back_us, 2 * RetryUs());
        }
        local.turn_given = true;
        local.stand_back_until_us = now_us + local.stand_back_us;
        local.contended_until_us = 0;
        Release(index, 0, now_us, UnlessUsed(index));
    }
    return Step::kBusy;
}

void Keeper::SendAcquire(Request &request, const std::vector<int32> &entries, int64 now_us) {
    // A key whose release is not acknowledged must follow it on its lane; two such lanes cannot
    // both be followed, so the acknowledgements are awaited.
    int wanted = kNoLane;
    for (const int32 index : entries) {
        const Local &local = local_[static_cast<size_t>(index)];
        if (ViewOf(EntryAt(index)).state == shared::LeaseState::kReleasing) {
            if (wanted != kNoLane && wanted != local.lane) {
                WaitUntil(request, now_us + kSoonUs);
                return;
            }
            wanted = local.lane;
        }
    }
    const int lane = PickLane(*active_, wanted, EntryAt(entries.front())->hash);
    if (lane == kNoLane) {
        WaitUntil(request, std::min(now_us + kSoonUs * 5, request.reachable_us + PatienceUs()));
        return;
    }
    Operation operation;
    operation.purpose = Purpose::kAcquire;
    operation.parts.resize(entries.size());
    operation.slot = request.slot;
    operation.number = request.number;
    size_t begun = 0;
    while (begun < entries.size()) {
        Part &part = operation.parts[begun];
        part.entry = entries[begun];
        MakeToken(part.token);
        if (!BeginAcquiring(part.entry, part.token)) {
            break;
        }
        begun++;
    }
    // A backend that gives up may free the entries at any moment, for other keys. But from here on
    // no entry can be freed; so if the request still stands, they are what it asked for.
    if (begun < entries.size() || !Alive(request)) {
        while (begun-- > 0) {
            UndoAcquiring(entries[begun]);
        }
        Answer(request, shared::Outcome::kNone);
        return;
    }
    std::vector<redis::AcquireKey> keys(entries.size());
    for (size_t i = 0; i < entries.size(); i++) {
        const int32 index = entries[i];
        Part &part = operation.parts[i];
        shared::LeaseEntry *entry = EntryAt(index);
        Local &local = local_[static_cast<size_t>(index)];
        redis::AcquireKey &key = keys[i];
        key.key = {entry->key, entry->key_length};
        key.token = part.token;
        Locked(entry, [&] {
            key.ttl_ms = entry->ttl_ms;
            key.floor = entry->next_fence - 1;
        });
        key.floor =
            std::max<uint64_t>(key.floor, pg_atomic_read_u64(&shared::Leases()->fence_floor));
        key.prev = entry->prev;
        key.intent = IsIntent(index);
        key.ttl_ms = key.ttl_ms > 0 ? key.ttl_ms : pg::settings::inventory_ttl_ms;
        IL_INJECT("worker-token-made");
        journal_.Write(index, key.key, key.token, key.prev);
        local.session = active_->id;
        local.lane = lane;
        local.stored_fence = 0;
        local.asked_us = now_us;
        local.dirty = false;
        part.ttl_ms = key.ttl_ms;
    }
    redis::AcquireOptions options;
    options.fence_ttl_ms = kFenceTtlMs;
    options.want_ms = std::clamp(RetryUs() * 3 / kUsPerMs, kMinWantMs, kMaxWantMs);
    if (!active_->node->status(lane).barrier && active_->clock_known) {
        options.not_after_us = static_cast<uint64>(
            now_us + active_->clock_offset_us + pg::settings::redis_command_timeout_ms * kUsPerMs);
    }
    operation.command = redis::MakeAcquire(keys, options);
    request.in_flight = true;
    IL_INJECT("worker-acquiring");
    if (!Send(*active_, lane, std::move(operation), now_us)) {
        request.in_flight = false;  // the lane has just died: OnLaneDown made the keys Unknown
        WaitUntil(request, now_us + kSoonUs);
    }
    IL_INJECT("worker-acquire-sent");
}

// Renewals on demand, fences to raise, and what administrators ask.
void Keeper::StartSimple(Request &request, int64 now_us) {
    const int32 index = request.entries.front();
    const Local &local = local_[static_cast<size_t>(index)];
    const View view = ViewOf(EntryAt(index));
    const bool held = view.state == shared::LeaseState::kHeld && now_us < view.deadline_us;
    if (request.operation == shared::Operation::kRenew ||
        request.operation == shared::Operation::kRaise) {
        if (!held) {
            Answer(request, shared::Outcome::kLost);
            return;
        }
        if (now_us - request.taken_us >= PatienceUs()) {
            Answer(request, shared::Outcome::kUnavailable);
            return;
        }
    }
    Operation operation;
    operation.slot = request.slot;
    operation.number = request.number;
    operation.parts.resize(1);
    operation.parts[0].entry = index;
    operation.key = KeyOf(index);
    pg_read_barrier();
    if (!Alive(request)) {  // then the entry may have been freed, and the key be another's
        Answer(request, shared::Outcome::kNone);
        return;
    }
    const std::string key = operation.key;
    if (request.operation == shared::Operation::kRenew) {
        if (local.extended_us >= request.taken_us) {
            Answer(request, shared::Outcome::kGranted);
            return;
        }
        if (HeldTooLong(view, now_us)) {
            Answer(request, shared::Outcome::kLost);
            return;
        }
        ExtendSoon(index);
        WaitUntil(request, now_us + kSoonUs);
        return;
    }
    if (request.operation == shared::Operation::kRaise) {
        Session *session = SessionOf(local.session);
        if (session == nullptr || !session->Ready(local.lane)) {
            WaitUntil(request, now_us + kSoonUs);
            return;
        }
        operation.purpose = Purpose::kRaise;
        memcpy(operation.parts[0].token, EntryAt(index)->token, sizeof(operation.parts[0].token));
        operation.command =
            redis::MakeRaise(key, EntryAt(index)->token, request.raise_above, kFenceTtlMs);
        request.in_flight = Send(*session, local.lane, std::move(operation), now_us);
    } else {
        const int lane = PickLane(*active_, kNoLane, EntryAt(index)->hash);
        if (lane == kNoLane) {
            WaitUntil(request, now_us + kSoonUs);
            return;
        }
        const bool force = request.operation == shared::Operation::kForce;
        const bool fence = request.operation == shared::Operation::kFence;
        operation.purpose = force ? Purpose::kForce : fence ? Purpose::kFence : Purpose::kInspect;
        const bool clear = request.operation == shared::Operation::kClear;
        const std::string name = fence ? redis::FenceKey(key) : clear ? key + "*" : key;
        const std::string cursor = std::to_string(request.raise_above);
        std::vector<std::string_view> argv = {force ? "DEL" : "GET", name};
        if (clear) {
            operation.purpose = Purpose::kClear;
            argv = {"EVAL", kClearScript, "0", cursor, name};
        }
        request.in_flight = SendPlain(*active_, lane, std::move(operation), argv, now_us);
    }
    if (!request.in_flight) {
        WaitUntil(request, now_us + kSoonUs);
    }
}

}  // namespace inventory_lock::worker
