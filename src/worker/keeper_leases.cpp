// The keeper's leases: renewed, released, lost, and whose turn it is. See keeper.hpp.
// Runs in: the worker.

#include <cmath>

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "worker/keeper_state.hpp"

extern "C" {
#include <common/pg_prng.h>
}

namespace inventory_lock::worker {

namespace {

constexpr int64 kUsPerSecond = 1000000;
constexpr int64 kUnflushedPollUs = 1 * kUsPerMs;
constexpr int64 kResendUs = 500 * kUsPerMs;
constexpr int64 kIdleCheckEveryUs = kUsPerSecond;
// OBJECT IDLETIME counts whole seconds on a clock that ticks once a second.
constexpr int64 kIdleSlackUs = 2500 * kUsPerMs;
constexpr int64 kClockStepUs = 50 * kUsPerMs;  // smaller differences are the network's

}  // namespace

int64 JitteredRetryUs() {
    return RetryUs() * 3 / 4 + static_cast<int64>(pg_prng_uint64_range(
                                   &pg_global_prng_state, 0, static_cast<uint64>(RetryUs() / 2)));
}

View ViewOf(shared::LeaseEntry *entry) {
    View view;
    Locked(entry, [&] {
        view.state = entry->state;
        view.interest = entry->interest;
        view.unflushed = entry->unflushed;
        view.holders = entry->holders;
        view.users = entry->users;
        view.next_fence = entry->next_fence;
        view.deadline_us = entry->deadline_us;
        view.tenure_start_us = entry->tenure_start_us;
        view.idle_since_us = entry->idle_since_us;
        view.ttl_ms = entry->ttl_ms;
        view.holder_since_us = entry->holder_since_us;
        view.holder_pid = entry->holder_pid;
        view.may_linger = entry->may_linger;
    });
    return view;
}

bool HeldTooLong(const View &view, int64 now_us) {
    return view.users == 1 && now_us - view.holder_since_us > pg::settings::max_hold_ms * kUsPerMs;
}

int64 RenewalUs(int64 due_us, int64 ttl_ms) {
    const int64 grain_us = std::max<int64>(ttl_ms * kUsPerMs / 24, 1);
    return due_us - due_us % grain_us;
}

// A backend brought the interest to zero, or left something to tidy.
void Keeper::LookAt(int32 index, int64 now_us) {
    const View view = ViewOf(EntryAt(index));
    if (view.interest > 0) {
        return;
    }
    switch (view.state) {
        case shared::LeaseState::kHeld:
            Check(index, now_us);
            break;
        case shared::LeaseState::kLost:
            Release(index, 0, now_us,
                    Unless::kNever);  // compare-and-delete: harmless if it is gone
            break;
        case shared::LeaseState::kAbsent:
            pg::Call([&] { (void)shared::FreeIfIdle(shared::Leases(), index, true); });
            break;
        case shared::LeaseState::kAcquiring:
        case shared::LeaseState::kReleasing:
        case shared::LeaseState::kUnknown:
            break;  // decided by the reply
    }
}

void Keeper::CheckAt(int32 index, int64 when_us) {
    Local &local = local_[static_cast<size_t>(index)];
    if (local.check_at_us != 0 && local.check_at_us <= when_us) {
        return;  // an earlier look is planned already, or due
    }
    local.check_at_us = when_us;
    checks_.push({when_us, index});
}

void Keeper::CheckDue(int64 now_us) {
    while (!checks_.empty() && checks_.top().first <= now_us) {
        const Timer timer = checks_.top();
        checks_.pop();
        Local &local = local_[static_cast<size_t>(timer.second)];
        if (local.check_at_us == timer.first) {
            local.check_at_us = 0;
            Check(timer.second, now_us);
        }
    }
}

void Keeper::Check(int32 index, int64 now_us) {
    const View view = ViewOf(EntryAt(index));
    const int64 asked_until_us =
        local_[static_cast<size_t>(index)].asked_us + view.ttl_ms * kUsPerMs;
    switch (view.state) {
        case shared::LeaseState::kHeld:
            CheckHeld(index, now_us);
            break;
        case shared::LeaseState::kReleasing:
            // The answer was an error, or is late. After the TTL there is nothing left to delete,
            // of a lease that was held or of one that was only asked for.
            if (now_us > std::max(view.deadline_us, asked_until_us) + view.ttl_ms * kUsPerMs / 50 +
                             kUsPerSecond) {
                MarkAbsent(index, now_us);
            } else {
                Release(index, 0, now_us, Unless::kNever);
            }
            break;
        case shared::LeaseState::kLost:
            LookAt(index, now_us);
            break;
        case shared::LeaseState::kUnknown:
            if (AbandonedServer(index, now_us)) {
                MarkAbsent(index, now_us);
            } else if (SessionOf(local_[static_cast<size_t>(index)].session) != active_) {
                CheckAt(index, now_us + kUsPerSecond);
            }
            break;
        case shared::LeaseState::kAbsent:
        case shared::LeaseState::kAcquiring:
            break;
    }
}

void Keeper::CheckHeld(int32 index, int64 now_us) {
    Local &local = local_[static_cast<size_t>(index)];
    const View view = ViewOf(EntryAt(index));
    if (now_us >= view.deadline_us) {
        MarkLost(index, shared::LostReason::kExpired, now_us);
        Poke(index, now_us);
        return;
    }
    if (view.interest == 0) {
        const int64 until_us = LingersUntilUs(index, view);
        if (now_us >= until_us) {
            Release(index, 0, now_us, Unless::kWanted);
        } else {
            CheckAt(index, until_us);
        }
        return;
    }
    const int64 ttl_us = view.ttl_ms * kUsPerMs;
    const int64 renew_us = RenewalUs(view.deadline_us - ttl_us * 2 / 3, view.ttl_ms);
    const bool too_long = HeldTooLong(view, now_us);
    if (too_long && !local.told_max_hold) {
        local.told_max_hold = true;
        const std::string key = KeyOf(index);
        const char *text = key.c_str();
        pg::Call([&] {
            ereport(LOG, (errmsg("lock is held for too long and will not be renewed: key=%s pid=%d",
                                 text, view.holder_pid),
                          errhint("See inventory_lock.max_hold.")));
        });
    }
    if (now_us >= renew_us && !too_long) {
        ExtendSoon(index);
    }
    const int64 next_us =
        LookAgainUs(index, now_us < renew_us ? renew_us : now_us + kResendUs, now_us);
    CheckAt(index, std::min(next_us, view.deadline_us));
}

// Makes the entry Acquiring under this token; what it had before may still be in Redis and becomes
// `prev`. False when nobody is interested any more: the entry may be free. Whether it still is the
// one that was asked for, Alive() says afterwards.
bool Keeper::BeginAcquiring(int32 index, const char *token) {
    shared::LeaseEntry *entry = EntryAt(index);
    bool wanted = false;
    Locked(entry, [&] {
        wanted = entry->interest > 0;
        if (!wanted) {
            return;
        }
        if (entry->state == shared::LeaseState::kAbsent) {
            entry->prev[0] = '\0';
        } else {  // Releasing or Lost
            memcpy(entry->prev, entry->token, sizeof(entry->prev));
        }
        local_[static_cast<size_t>(index)].before = entry->state;
        memcpy(entry->token, token, sizeof(entry->token));
        entry->state = shared::LeaseState::kAcquiring;
    });
    return wanted;
}

// Takes BeginAcquiring back, when nothing has been sent.
void Keeper::UndoAcquiring(int32 index) {
    shared::LeaseEntry *entry = EntryAt(index);
    Locked(entry, [&] {
        entry->state = local_[static_cast<size_t>(index)].before;
        memcpy(entry->token, entry->prev, sizeof(entry->token));
        entry->prev[0] = '\0';
    });
}

// Gives the key up. The token is never used for anything else again.
void Keeper::Release(int32 index, int64 gap_ms, int64 now_us, Unless unless) {
    shared::LeaseEntry *entry = EntryAt(index);
    bool possible = false;
    bool gone = false;
    bool wanted = false;
    Locked(entry, [&] {
        wanted = (unless == Unless::kWanted && entry->interest > 0) ||
                 (unless == Unless::kUsed && entry->holders > 0);
        // Nobody's commit is protected by a lease that is Releasing or Unknown: what is unflushed
        // there was committed without Redis, or under a lease that had been lost by then.
        const bool settling = entry->state == shared::LeaseState::kReleasing ||
                              entry->state == shared::LeaseState::kUnknown;
        possible =
            !wanted &&
            (settling || (entry->unflushed == 0 && (entry->state == shared::LeaseState::kHeld ||
                                                    entry->state == shared::LeaseState::kLost)));
        gone = possible && entry->token[0] == '\0';
        if (possible) {
            if (entry->state == shared::LeaseState::kHeld) {
                entry->generation++;
                entry->holders = 0;
            }
            entry->state = shared::LeaseState::kReleasing;
        }
    });
    if (wanted) {
        CheckAt(index, LookAgainUs(index, now_us + ViewOf(entry).ttl_ms * kUsPerMs / 6, now_us));
        return;
    }
    if (!possible) {
        CheckAt(index, now_us + kUnflushedPollUs);
        return;
    }
    if (gone) {
        MarkAbsent(index, now_us);
        return;
    }
    if (entry->prev[0] != '\0') {
        ReleaseToken(index, entry->prev, 0, now_us);
    }
    ReleaseToken(index, entry->token, gap_ms, now_us);
}

void Keeper::MarkAbsent(int32 index, int64 now_us) {
    shared::LeaseEntry *entry = EntryAt(index);
    Local &local = local_[static_cast<size_t>(index)];
    const int32 partner = PartnerOf(index);  // once Absent, the entry may be freed for another key
    IL_INJECT("worker-forgetting");
    journal_.Erase(index);
    IL_INJECT("worker-forgotten");
    uint32 interest = 0;
    Locked(entry, [&] {
        entry->state = shared::LeaseState::kAbsent;
        entry->token[0] = '\0';
        entry->prev[0] = '\0';
        interest = entry->interest;
    });
    local.session = 0;
    local.lane = kNoLane;
    local.extending = false;
    local.told_max_hold = false;
    local.release_alone = false;
    if (interest == 0) {
        local.stand_back_us = kStandBackUs;
        local.turn_given = false;
    }
    if (partner >= 0) {
        PokeSharers(partner, now_us);
    }
    if (interest == 0) {
        pg::Call([&] { (void)shared::FreeIfIdle(shared::Leases(), index, true); });
    } else {
        Poke(index, now_us);
    }
}

void Keeper::MarkLost(int32 index, shared::LostReason reason, int64 now_us) {
    shared::LeaseEntry *entry = EntryAt(index);
    uint32 interest = 0;
    uint32 users = 0;
    int32 pid = 0;
    Locked(entry, [&] {
        entry->state = shared::LeaseState::kLost;
        entry->lost_reason = reason;
        entry->generation++;
        entry->holders = 0;
        interest = entry->interest;
        users = entry->users;
        pid = entry->holder_pid;
        if (reason != shared::LostReason::kExpired) {
            entry->token[0] = '\0';  // it is not in Redis any more
            entry->prev[0] = '\0';
        }
    });
    IL_INJECT("worker-lost");
    if (users > 0) {
        static constexpr const char *kReasons[] = {"none", "expired", "deleted", "taken", "forced"};
        const std::string key = KeyOf(index);
        const char *text = key.c_str();
        pg::Call([&] {
            ereport(WARNING, (errmsg("lock was lost: key=%s pid=%d reason=%s", text, pid,
                                     kReasons[static_cast<int>(reason)])));
        });
    }
    if (interest == 0) {
        LookAt(index, now_us);
    }
}

void Keeper::Verify(int32 index, int64 now_us) {
    if (ViewOf(EntryAt(index)).interest == 0) {
        Release(index, 0, now_us, Unless::kWanted);
    }
    if (ViewOf(EntryAt(index)).state != shared::LeaseState::kHeld) {
        return;
    }
    Local &local = local_[static_cast<size_t>(index)];
    local.in_doubt = true;
    if (local.extending) {  // the answer may be older than the hint
        local.look_again = true;
        return;
    }
    ExtendSoon(index);
    // Writing a shared key wakes those who share it, who would write it in turn.
    local.only_look = IsIntent(index);
}

void Keeper::ExtendSoon(int32 index) {
    Local &local = local_[static_cast<size_t>(index)];
    local.only_look = false;
    if (!local.extending) {
        local.extending = true;
        to_extend_.push_back(index);
    }
}

// Renews all due keys, one script call per lane, a bounded number of keys in each.
void Keeper::SendExtends(int64 now_us) {
    constexpr size_t kBatch = 256;
    std::map<std::pair<uint32, int>, std::vector<int32>> batches;
    for (const int32 index : to_extend_) {
        Local &local = local_[static_cast<size_t>(index)];
        Session *session = SessionOf(local.session);
        local.extending = false;
        if (session == nullptr || ViewOf(EntryAt(index)).state != shared::LeaseState::kHeld) {
            continue;
        }
        if (!session->Ready(local.lane)) {  // nothing of a Held key is outstanding that matters
            const int lane = PickLane(*session, kNoLane, EntryAt(index)->hash);
            if (lane == kNoLane) {
                continue;  // OnLaneReady extends everything
            }
            local.lane = lane;
        }
        local.extending = true;
        batches[{local.session, local.lane}].push_back(index);
    }
    to_extend_.clear();
    for (const auto &batch : batches) {
        const std::vector<int32> &indexes = batch.second;
        for (size_t from = 0; from < indexes.size(); from += kBatch) {
            const size_t to = std::min(from + kBatch, indexes.size());
            Operation operation;
            operation.purpose = Purpose::kExtend;
            std::vector<redis::ExtendKey> keys;
            for (size_t i = from; i < to; i++) {
                shared::LeaseEntry *entry = EntryAt(indexes[i]);
                Local &local = local_[static_cast<size_t>(indexes[i])];
                const int64 ttl_ms = std::exchange(local.only_look, false)
                                         ? redis::kOnlyLook
                                         : std::max<int64>(ViewOf(entry).ttl_ms, kUsPerMs);
                Part &part = operation.parts.emplace_back();
                part.entry = indexes[i];
                part.ttl_ms = ttl_ms;
                memcpy(part.token, entry->token, sizeof(part.token));
                keys.push_back({KeyOf(indexes[i]), entry->token, ttl_ms});
            }
            operation.command = redis::MakeExtend(keys);
            IL_INJECT("worker-renewing");
            if (!Send(*SessionOf(batch.first.first), batch.first.second, std::move(operation),
                      now_us)) {
                for (size_t i = from; i < to; i++) {
                    local_[static_cast<size_t>(indexes[i])].extending = false;
                }
            }
        }
    }
}

// The tenure is over. Another cluster known to wait gets its turn; a poller suspected gets a gap,
// at most once a second; otherwise the key stays.
Keeper::Turn_ Keeper::WhoseTurn(int32 index, int64 now_us) {
    Local &local = local_[static_cast<size_t>(index)];
    if (local.contended_until_us > now_us) {
        return Turn_::kTheirs;
    }
    if (ForeignSeen(KeyOf(index), now_us)) {
        return now_us - local.gap_us >= kGapEveryUs ? Turn_::kPollers : Turn_::kOurs;
    }
    if (now_us - local.idle_checked_us < kIdleCheckEveryUs ||
        now_us - local.extended_us < kIdleSlackUs) {
        return Turn_::kOurs;
    }
    return Turn_::kAsk;
}

// A poller touches the key; Redis then reports less idle time than we left it alone for.
void Keeper::AskIdleTime(int32 index, int64 now_us) {
    Local &local = local_[static_cast<size_t>(index)];
    Session *session = SessionOf(local.session);
    if (local.idle_asked || session == nullptr || !session->Ready(local.lane)) {
        return;
    }
    Operation operation;
    operation.purpose = Purpose::kIdleTime;
    operation.parts.resize(1);
    operation.parts[0].entry = index;
    operation.key = KeyOf(index);
    const std::string key = operation.key;
    local.idle_asked =
        SendPlain(*session, local.lane, std::move(operation), {"OBJECT", "IDLETIME", key}, now_us);
}

void Keeper::NoteForeign(const std::string &key, int64 now_us) {
    if (foreign_.size() >= kForeignMemory) {
        for (auto it = foreign_.begin(); it != foreign_.end();) {
            it = now_us - it->second > kForeignMemoryUs / 2 ? foreign_.erase(it) : std::next(it);
        }
        if (foreign_.size() >= kForeignMemory) {
            foreign_.erase(foreign_.begin());
        }
    }
    foreign_[key] = now_us;
    if (linger_ms_ > 0) {
        if (const int32 index = FindKey(key); index >= 0) {
            StopLingering(index, now_us);
        }
    }
}

bool Keeper::ForeignSeen(const std::string &key, int64 now_us) const {
    const auto it = foreign_.find(key);
    return it != foreign_.end() && now_us - it->second < kForeignMemoryUs;
}

// Redis counts a TTL on its wall clock. When that steps forward, every earlier deadline moves
// nearer by as much.
void Keeper::NoteRedisTime(Session &session, uint64 time_us, int64 sent_us, int64 now_us) {
    if (time_us == 0) {
        return;
    }
    // The answer was made between sent and now, which bounds the offset from both sides; what is
    // known of it is what all answers since the latest step agree on. A late answer is no step.
    const int64 least = static_cast<int64>(time_us) - now_us;
    const int64 most = static_cast<int64>(time_us) - sent_us;
    if (session.clock_known && least > session.clock_offset_max_us + kClockStepUs) {
        const int64 step_us = most - session.clock_offset_us;
        pg::Call([&] {
            ereport(LOG,
                    (errmsg("the clock of the Redis server stepped forward by " INT64_FORMAT " ms",
                            step_us / kUsPerMs)));
        });
        for (size_t i = 0; i < local_.size(); i++) {
            if (local_[i].session == session.id && local_[i].extended_us < sent_us) {
                shared::LeaseEntry *entry = EntryAt(static_cast<int32>(i));
                Locked(entry, [&] { entry->deadline_us -= step_us; });
                ExtendSoon(static_cast<int32>(i));
                CheckAt(static_cast<int32>(i), now_us);
            }
        }
    }
    if (!session.clock_known || least > session.clock_offset_max_us ||
        most < session.clock_offset_us) {
        session.clock_offset_us = least;
        session.clock_offset_max_us = most;
        session.clock_known = true;
    } else {
        session.clock_offset_us = std::max(session.clock_offset_us, least);
        session.clock_offset_max_us = std::min(session.clock_offset_max_us, most);
    }
}

}  // namespace inventory_lock::worker
