// What Redis tells the keeper: replies and wake-ups. See keeper.hpp.
// Runs in: the worker.

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "redis/info.hpp"
#include "worker/keeper_state.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::worker {

namespace {

constexpr int64 kLeastLeftUs = 10 * kUsPerMs;

// Printable ASCII of at most the size of the field: foreign bytes never travel further raw.
void CopyPrintable(char *target, size_t size, std::string_view bytes) {
    const size_t length = std::min(bytes.size(), size - 1);
    for (size_t i = 0; i < length; i++) {
        target[i] = bytes[i] > ' ' && bytes[i] < 0x7F ? bytes[i] : '?';
    }
    target[length] = '\0';
}

}  // namespace

void Keeper::OnReply(Session &session, int lane, uint64 tag, redis::ReplyView reply) {
    const auto it = operations_.find(tag);
    if (it == operations_.end()) {
        return;
    }
    Operation operation = std::move(it->second);
    operations_.erase(it);
    const int64 now_us = now_us_;
    const auto again_by_text = [&](bool no_script) {
        if (!no_script || operation.command.by_text) {
            return false;
        }
        operation.command = operation.command.WithText();
        Send(session, lane, std::move(operation), now_us);
        return true;
    };
    // An answer that makes no sense may be one to another command: nothing on the lane is believed.
    const auto is_nonsense = [&](const redis::Trouble &trouble) {
        if (trouble.kind != redis::TroubleKind::kProtocol) {
            return false;
        }
        session.node->Drop(lane, trouble, now_us);
        Forget(operation, now_us);
        return true;
    };
    switch (operation.purpose) {
        case Purpose::kAcquire: {
            IL_INJECT("worker-acquired");
            const redis::AcquireAnswer answer =
                redis::ParseAcquire(reply, operation.parts.size(), operation.parts[0].token);
            if (!again_by_text(answer.no_script) && !is_nonsense(answer.trouble)) {
                NoteRedisTime(session, answer.time_us, operation.sent_us, now_us);
                OnAcquired(operation, answer, now_us);
            }
            break;
        }
        case Purpose::kExtend: {
            IL_INJECT("worker-renewed");
            const redis::ExtendAnswer answer =
                redis::ParseExtend(reply, operation.parts.size(), operation.parts[0].token);
            if (!again_by_text(answer.no_script) && !is_nonsense(answer.trouble)) {
                NoteRedisTime(session, answer.time_us, operation.sent_us, now_us);
                OnExtended(operation, answer, now_us);
            }
            break;
        }
        case Purpose::kRelease: {
            IL_INJECT("worker-released");
            const redis::ReleaseAnswer answer = redis::ParseRelease(reply, operation.parts.size());
            if (!again_by_text(answer.no_script) && !is_nonsense(answer.trouble)) {
                OnReleased(operation, answer, now_us);
            }
            break;
        }
        case Purpose::kRaise: {
            IL_INJECT("worker-raised");
            const redis::RaiseAnswer answer = redis::ParseRaise(reply);
            if (again_by_text(answer.no_script) || is_nonsense(answer.trouble)) {
                break;
            }
            const auto request = requests_.find(operation.slot);
            if (request != requests_.end() && request->second.number == operation.number) {
                Answer(request->second,
                       !answer.ok    ? shared::Outcome::kUnavailable
                       : answer.ours ? shared::Outcome::kGranted
                                     : shared::Outcome::kLost,
                       0, answer.fence);
            }
            const shared::LeaseEntry *entry = EntryAt(operation.parts[0].entry);
            if (answer.ok && !answer.ours && entry->state == shared::LeaseState::kHeld &&
                operation.parts[0].Has(entry->token)) {
                MarkLost(operation.parts[0].entry, shared::LostReason::kTaken, now_us);
            }
            break;
        }
        case Purpose::kWaits: {
            const redis::WaitsAnswer answer = redis::ParseWaits(reply);
            if (!again_by_text(answer.no_script) && !is_nonsense(answer.trouble)) {
                OnWaits(operation, answer);
            }
            break;
        }
        case Purpose::kTime:
            NoteRedisTime(session,
                          static_cast<uint64>(reply[0].Integer().value_or(0)) * 1000000 +
                              static_cast<uint64>(reply[1].Integer().value_or(0)),
                          operation.sent_us, now_us);
            break;
        case Purpose::kInfo: {
            const std::string policy = redis::MaxmemoryPolicy(reply.Text());
            shared::Worker *worker = &shared::Get()->worker;
            char text[sizeof(worker->eviction_policy)];
            CopyPrintable(text, sizeof(text), policy);
            bool changed = false;
            SpinLockAcquire(&worker->mutex);
            changed = strcmp(worker->eviction_policy, text) != 0;
            memcpy(worker->eviction_policy, text, sizeof(text));
            SpinLockRelease(&worker->mutex);
            if (changed && !policy.empty() && policy != "noeviction") {
                pg::Call([&] {
                    ereport(WARNING,
                            (errmsg("Redis may evict locks: its maxmemory-policy is \"%s\"", text),
                             errhint("Set maxmemory-policy to noeviction.")));
                });
            }
            break;
        }
        case Purpose::kProbe:
            OnProbed(reply, now_us);
            break;
        case Purpose::kIdleTime:
        case Purpose::kForce:
        case Purpose::kInspect:
        case Purpose::kFence:
        case Purpose::kClear:
            OnSimple(operation, reply, now_us);
            break;
        case Purpose::kOrphan:
            if (const redis::ReleaseAnswer answer = redis::ParseRelease(reply, 1);
                !again_by_text(answer.no_script) && !is_nonsense(answer.trouble)) {
                OnOrphanFreed(operation, answer);
            }
            break;
    }
}

void Keeper::OnAcquired(Operation &operation, const redis::AcquireAnswer &answer, int64 now_us) {
    const auto request = requests_.find(operation.slot);
    const bool wanted = request != requests_.end() && request->second.number == operation.number &&
                        Alive(request->second);
    if (request != requests_.end() && request->second.number == operation.number) {
        request->second.in_flight = false;
        request->second.blocked = false;
    }
    if (answer.result == redis::AcquireResult::kTaken ||
        answer.result == redis::AcquireResult::kLate) {
        NoteSuccess(operation);
        OnTaken(operation, answer, now_us);
        return;
    }
    if (answer.result == redis::AcquireResult::kTrouble) {
        // An error need not mean that nothing was done: what may be there is released.
        for (size_t i = 0; i < operation.parts.size(); i++) {
            shared::LeaseEntry *entry = EntryAt(operation.parts[i].entry);
            if (entry->state == shared::LeaseState::kAcquiring &&
                operation.parts[i].Has(entry->token)) {
                Locked(entry, [&] { entry->state = shared::LeaseState::kUnknown; });
                Release(operation.parts[i].entry, 0, now_us, Unless::kNever);
            }
        }
        if (wanted) {
            Answer(request->second, shared::Outcome::kUnavailable);
        }
        NoteTrouble(operation, answer.trouble, now_us);
        return;
    }
    NoteSuccess(operation);
    bool enough = true;
    for (size_t i = 0; i < operation.parts.size(); i++) {
        const int32 index = operation.parts[i].entry;
        shared::LeaseEntry *entry = EntryAt(index);
        Local &local = local_[static_cast<size_t>(index)];
        const int64 ttl_ms = operation.parts[i].ttl_ms;
        const int64 deadline_us =
            operation.sent_us + ttl_ms * kUsPerMs - ttl_ms * 10 - 2 * kUsPerMs;
        const int64 margin_us = pg::settings::LeaseMarginMs(ttl_ms) * kUsPerMs;
        const bool linger =
            linger_ms_ > 0 && !IsIntent(index) && !ForeignSeen(KeyOf(index), now_us);
        uint32 interest = 0;
        bool mine = false;
        Locked(entry, [&] {
            mine = entry->state == shared::LeaseState::kAcquiring &&
                   operation.parts[i].Has(entry->token);
            if (mine) {
                entry->state = shared::LeaseState::kHeld;
                entry->lost_reason = shared::LostReason::kNone;
                entry->prev[0] = '\0';
                entry->generation++;
                entry->holders = 0;
                entry->next_fence = std::max(entry->next_fence, answer.fences[i]);
                entry->deadline_us = deadline_us;
                entry->tenure_start_us = now_us;
                entry->may_linger = linger;
                memcpy(entry->waited_for, entry->blocker.token, sizeof(entry->waited_for));
                entry->blocker.token[0] = '\0';
            }
            interest = entry->interest;
        });
        if (!mine) {
            continue;
        }
        local.stored_fence = answer.fences[i];
        local.extended_us = operation.sent_us;
        local.contended_until_us = 0;
        local.in_doubt = false;
        if (deadline_us - now_us < margin_us) {
            enough = false;
            Release(index, 0, now_us, Unless::kNever);
        } else if (interest == 0) {
            Release(index, 0, now_us, Unless::kWanted);
        } else {
            const int64 renew_us = RenewalUs(operation.sent_us + ttl_ms * kUsPerMs / 3, ttl_ms);
            CheckAt(index, LookAgainUs(index, renew_us, now_us));
        }
        if (local.dirty) {
            local.dirty = false;
            Verify(index, now_us);
        }
        if (IsIntent(index)) {
            PokeSharers(index, now_us);
        }
    }
    IL_INJECT("worker-granted");
    if (wanted) {
        if (enough) {
            Start(request->second, now_us);  // every key is Held now: answers
        } else {
            WaitUntil(request->second, now_us + kLeastLeftUs);
        }
    } else if (request != requests_.end() && request->second.number == operation.number) {
        Answer(request->second, shared::Outcome::kNone);
    }
}

void Keeper::OnTaken(Operation &operation, const redis::AcquireAnswer &answer, int64 now_us) {
    const auto found = requests_.find(operation.slot);
    Request *request = found != requests_.end() && found->second.number == operation.number
                           ? &found->second
                           : nullptr;
    const bool wanted = request != nullptr && Alive(*request);
    const size_t blocked = std::min(answer.blocked_index, operation.parts.size() - 1);
    const int32 index = operation.parts[blocked].entry;
    if (answer.result == redis::AcquireResult::kTaken) {
        IL_INJECT("worker-blocked");
        shared::LeaseEntry *entry = EntryAt(index);
        shared::Blocker blocker;
        CopyPrintable(blocker.token, sizeof(blocker.token), answer.blocker);
        blocker.until_us = answer.blocker_pttl_ms > 0 ? now_us + answer.blocker_pttl_ms * kUsPerMs
                           : answer.blocker_pttl_ms == 0 ? now_us
                                                         : -1;
        Locked(entry, [&] { entry->blocker = blocker; });
        if (answer.blocker_kind == redis::BlockerKind::kForeign ||
            answer.blocker_kind == redis::BlockerKind::kOtherType) {
            NoteForeign(KeyOf(index), now_us);
        }
        local_[static_cast<size_t>(index)].turn_given = false;  // somebody has taken it
    }
    const int32 starting = std::exchange(starting_, operation.slot);  // started again below
    bool dirty = answer.result == redis::AcquireResult::kLate;
    for (size_t i = 0; i < operation.parts.size(); i++) {
        const int32 other = operation.parts[i].entry;
        shared::LeaseEntry *entry = EntryAt(other);
        if (entry->state == shared::LeaseState::kAcquiring &&
            operation.parts[i].Has(entry->token)) {
            dirty = dirty || local_[static_cast<size_t>(other)].dirty;
            if (entry->prev[0] != '\0') {  // nothing was done: the earlier token may be there still
                Locked(entry, [&] {
                    memcpy(entry->token, entry->prev, sizeof(entry->token));
                    entry->prev[0] = '\0';
                    entry->state = shared::LeaseState::kUnknown;
                });
                Release(other, 0, now_us, Unless::kNever);
            } else {
                MarkAbsent(other, now_us);
            }
        }
    }
    starting_ = starting;
    if (!wanted) {
        if (request != nullptr) {
            Answer(*request, shared::Outcome::kNone);
        }
        return;
    }
    if (request->no_wait && answer.result == redis::AcquireResult::kTaken) {
        Answer(*request, shared::Outcome::kBusy, static_cast<uint32>(index));
        return;
    }
    // Nothing is held while waiting: what the cluster had of this request goes to others.
    starting_ = operation.slot;
    for (const int32 other : request->entries) {
        if (request->entries.size() > 1 &&
            ViewOf(EntryAt(other)).state == shared::LeaseState::kHeld) {
            Release(other, 0, now_us, UnlessUsed(other));
        }
    }
    starting_ = starting;
    request->blocked = true;
    request->blocked_entry = index;
    if (dirty) {
        WaitUntil(*request, now_us);
        return;
    }
    int64 retry_us = now_us + JitteredRetryUs();
    if (answer.blocker_pttl_ms >= 0 &&
        now_us + (answer.blocker_pttl_ms + 1) * kUsPerMs < retry_us) {
        retry_us = now_us + (answer.blocker_pttl_ms + 1) * kUsPerMs;
        shared::Count(shared::Total::kWokenByTimer);
    }
    WaitUntil(*request, retry_us);
}

void Keeper::OnExtended(Operation &operation, const redis::ExtendAnswer &answer, int64 now_us) {
    for (const Part &part : operation.parts) {
        local_[static_cast<size_t>(part.entry)].extending = false;
    }
    if (!answer.ok) {
        NoteTrouble(operation, answer.trouble, now_us);
        return;  // tried again at the next check, until the deadline
    }
    NoteSuccess(operation);
    for (size_t i = 0; i < operation.parts.size(); i++) {
        const int32 index = operation.parts[i].entry;
        shared::LeaseEntry *entry = EntryAt(index);
        const int64 ttl_ms = operation.parts[i].ttl_ms;
        bool mine = false;
        Locked(entry, [&] {
            mine =
                entry->state == shared::LeaseState::kHeld && operation.parts[i].Has(entry->token);
            if (mine && answer.keys[i] == redis::Ownership::kOurs && ttl_ms > 0) {
                entry->deadline_us =
                    std::max(entry->deadline_us,
                             operation.sent_us + ttl_ms * kUsPerMs - ttl_ms * 10 - 2 * kUsPerMs);
            }
        });
        if (!mine) {
            continue;
        }
        Local &local = local_[static_cast<size_t>(index)];
        if (answer.keys[i] == redis::Ownership::kOurs) {
            if (ttl_ms > 0) {
                shared::Count(shared::Total::kRenewals);
                local.extended_us = operation.sent_us;
                CheckAt(index, RenewalUs(operation.sent_us + ttl_ms * kUsPerMs / 3, ttl_ms));
            }
            if (std::exchange(local.look_again, false)) {
                Verify(index, now_us);
            } else if (std::exchange(local.in_doubt, false)) {
                shared::Count(shared::Total::kReasserted);
            }
        } else {
            MarkLost(index,
                     answer.keys[i] == redis::Ownership::kAbsent ? shared::LostReason::kDeleted
                                                                 : shared::LostReason::kTaken,
                     now_us);
        }
        Poke(index, now_us);
    }
}

void Keeper::OnSimple(Operation &operation, redis::ReplyView reply, int64 now_us) {
    const int32 index = operation.parts[0].entry;
    Local &local = local_[static_cast<size_t>(index)];
    if (operation.purpose == Purpose::kIdleTime) {
        local.idle_asked = false;
        local.idle_checked_us = now_us;
        const int64 alone_us = operation.sent_us - local.extended_us;
        const std::optional<int64_t> idle_s = reply.Integer();
        // No answer to the question (another eviction policy) counts as suspicion.
        if (!reply.IsNil() && (!idle_s || *idle_s * 1000000 + 1500 * kUsPerMs < alone_us)) {
            NoteForeign(operation.key, now_us);
        }
        Poke(index, now_us);
        return;
    }
    const auto request = requests_.find(operation.slot);
    if (request == requests_.end() || request->second.number != operation.number) {
        return;
    }
    if (reply.IsError() && redis::ClassifyErrorReply(reply.Text()) != redis::TroubleKind::kOther) {
        Answer(request->second, shared::Outcome::kUnavailable);
        return;
    }
    if (operation.purpose == Purpose::kFence) {
        const int64 fence = reply.Integer().value_or(0);
        Answer(request->second, shared::Outcome::kGranted, 0,
               fence > 0 ? static_cast<uint64>(fence) : 0);
        return;
    }
    if (operation.purpose == Purpose::kClear) {
        OnCleared(request->second, reply, now_us);
        return;
    }
    if (operation.purpose == Purpose::kForce) {
        const bool deleted = reply.Integer().value_or(0) > 0;
        OnForced(operation.key, now_us);
        Answer(request->second, deleted ? shared::Outcome::kGranted : shared::Outcome::kAbsent);
        return;
    }
    if (!reply.IsNil() && Alive(request->second)) {
        shared::LeaseEntry *entry = EntryAt(index);
        shared::Blocker blocker;
        CopyPrintable(blocker.token, sizeof(blocker.token),
                      reply.IsError() ? std::string_view("(not a string)") : reply.Text());
        blocker.until_us = 0;
        Locked(entry, [&] { entry->blocker = blocker; });
    }
    Answer(request->second, reply.IsNil() ? shared::Outcome::kAbsent : shared::Outcome::kBusy);
}

// One step of clearing: [next cursor, deleted key, …].
void Keeper::OnCleared(Request &request, redis::ReplyView reply, int64 now_us) {
    const std::optional<int64_t> cursor = reply[0].Integer();
    if (!cursor) {
        Answer(request, shared::Outcome::kUnavailable);
        return;
    }
    for (size_t i = 1; i < reply.size(); i++) {
        OnForced(reply[i].Text(), now_us);
    }
    Answer(request, shared::Outcome::kGranted, static_cast<uint32>(reply.size() - 1),
           static_cast<uint64>(*cursor));
}

void Keeper::OnProbed(redis::ReplyView reply, int64 now_us) {
    const bool good = !reply.IsError();
    if (!good) {
        redis::Trouble trouble = redis::TroubleOfReply(reply.Text());
        shared::Count(static_cast<shared::Total>(static_cast<int>(shared::Total::kErrorsFirst) +
                                                 static_cast<int>(trouble.kind)));
        breaker_.ProbeRefused(std::move(trouble));
    }
    if (breaker_.ProbeEnded(good, now_us)) {
        pg::Call([] { ereport(LOG, (errmsg("Redis answers again; new locks use it"))); });
    }
}

void Keeper::OnInvalidated(std::string_view key) {
    for (const shared::LeaseMode mode :
         {shared::LeaseMode::kExclusive, shared::LeaseMode::kIntent}) {
        if (const int32 index = FindKey(key, mode); index >= 0) {
            OnKeyChanged(index);
        }
    }
}

void Keeper::OnAllInvalidated(Session &session) {
    for (size_t i = 0; i < local_.size(); i++) {
        if (local_[i].session == session.id) {
            const shared::LeaseState state = ViewOf(EntryAt(static_cast<int32>(i))).state;
            if (state == shared::LeaseState::kHeld) {
                Verify(static_cast<int32>(i), now_us_);
            } else if (state == shared::LeaseState::kAcquiring) {
                local_[i].dirty = true;
            }
        }
    }
    for (auto &item : requests_) {
        if (!item.second.in_flight) {
            WaitUntil(item.second, now_us_);
        }
    }
}

// Another cluster asked in vain for a key of ours.
void Keeper::OnRecall(std::string_view key) {
    for (const shared::LeaseMode mode :
         {shared::LeaseMode::kExclusive, shared::LeaseMode::kIntent}) {
        if (const int32 index = FindKey(key, mode); index >= 0) {
            OnWanted(index);
        }
    }
}

}  // namespace inventory_lock::worker
