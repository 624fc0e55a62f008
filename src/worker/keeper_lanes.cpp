// The keeper's connections: sending, lanes that come up and die, what is left open then. See
// keeper.hpp. Runs in: the worker.

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

namespace {

constexpr int64 kAgainUs = 10 * kUsPerMs;
constexpr int64 kLookAgainUs = 1000 * kUsPerMs;

}  // namespace

bool Keeper::Send(Session &session, int lane, Operation operation, int64 now_us) {
    const uint64 tag = Enlist(session, lane, std::move(operation), now_us);
    return SendEnlisted(session, tag, operations_.at(tag).command.Argv(), now_us);
}

bool Keeper::SendPlain(Session &session, int lane, Operation operation,
                       const std::vector<std::string_view> &argv, int64 now_us) {
    return SendEnlisted(session, Enlist(session, lane, std::move(operation), now_us), argv, now_us);
}

uint64 Keeper::Enlist(const Session &session, int lane, Operation operation, int64 now_us) {
    const uint64 tag = next_tag_++;
    operation.session = session.id;
    operation.lane = lane;
    operation.sent_us = now_us;
    operations_.emplace(tag, std::move(operation));
    return tag;
}

bool Keeper::SendEnlisted(Session &session, uint64 tag, const std::vector<std::string_view> &argv,
                          int64 now_us) {
    const auto it = operations_.find(tag);
    if (session.node->Send(it->second.lane, tag, argv, now_us)) {
        return true;
    }
    // Not sent; but the state has been changed as if: what Forget() makes of it is right for both.
    Operation unsent = std::move(it->second);
    operations_.erase(it);
    Forget(unsent, now_us);
    return false;
}

// The effect of the operation is unknown, or it never left.
void Keeper::Forget(Operation &operation, int64 now_us) {
    const auto request = requests_.find(operation.slot);
    const bool mine = request != requests_.end() && request->second.number == operation.number;
    switch (operation.purpose) {
        case Purpose::kAcquire:
        case Purpose::kRelease:
            for (const Part &part : operation.parts) {
                shared::LeaseEntry *entry = EntryAt(part.entry);
                Locked(entry, [&] {
                    const bool ours =
                        part.Has(entry->token) && (entry->state == shared::LeaseState::kAcquiring ||
                                                   entry->state == shared::LeaseState::kReleasing);
                    if (ours) {
                        entry->state = shared::LeaseState::kUnknown;
                    }
                });
                CheckAt(part.entry, now_us + kLookAgainUs);
            }
            break;
        case Purpose::kExtend:
            for (const Part &part : operation.parts) {
                local_[static_cast<size_t>(part.entry)].extending = false;
            }
            break;
        case Purpose::kIdleTime:
            local_[static_cast<size_t>(operation.parts[0].entry)].idle_asked = false;
            break;
        case Purpose::kProbe:
            breaker_.ProbeEnded(false, now_us);
            break;
        case Purpose::kRaise:
        case Purpose::kForce:
        case Purpose::kInspect:
        case Purpose::kFence:
        case Purpose::kClear:
            if (mine) {
                request->second.in_flight = false;
                Answer(request->second, shared::Outcome::kUnavailable);
            }
            return;
        case Purpose::kTime:
        case Purpose::kInfo:
        case Purpose::kWaits:
            return;
        case Purpose::kOrphan:
            orphans_under_way_--;
            return;
    }
    if (mine) {
        request->second.in_flight = false;
        WaitUntil(request->second, now_us + kAgainUs);
    }
}

void Keeper::OnLaneReady(Session &session, int lane) {
    const int64 now_us = now_us_;
    if (session.told_down) {
        session.told_down = false;
        const char *endpoint = session.node->where().c_str();
        pg::Call([&] { ereport(LOG, (errmsg("connected to Redis at %s again", endpoint))); });
    }
    Operation time;
    time.purpose = Purpose::kTime;
    SendPlain(session, lane, std::move(time), {"TIME"}, now_us);
    if (lane == 0) {
        Operation info;
        info.purpose = Purpose::kInfo;
        SendPlain(session, lane, std::move(info), {"INFO", "memory"}, now_us);
    }
    FreeOrphans(session, lane, now_us);

    // What an earlier worker left open: settled once every lane's barrier has passed.
    bool all_ready = true;
    for (int other = 0; other < session.node->lanes(); other++) {
        all_ready = all_ready && session.Ready(other);
    }
    if (all_ready && !session.took_over) {
        session.took_over = true;
        for (const int32 index : takeover_) {
            Local &local = local_[static_cast<size_t>(index)];
            if (local.session != 0) {  // settled, and asked for anew since
                continue;
            }
            local.session = session.id;
            local.lane = PickLane(session, kNoLane, EntryAt(index)->hash);
            local.asked_us = now_us;  // at the latest
            const View view = ViewOf(EntryAt(index));
            if (view.state == shared::LeaseState::kUnknown) {
                Release(index, 0, now_us, Unless::kNever);
            } else if (view.state == shared::LeaseState::kHeld) {
                Verify(index, now_us);
                CheckAt(index, now_us);
            }
        }
        takeover_.clear();
    }
    // Unacknowledged releases first, then the leases are verified, then whoever waits.
    for (size_t i = 0; i < local_.size(); i++) {
        if (local_[i].session != session.id || local_[i].lane != lane) {
            continue;
        }
        const auto index = static_cast<int32>(i);
        const View view = ViewOf(EntryAt(index));
        if (view.state == shared::LeaseState::kUnknown) {
            Release(index, 0, now_us, Unless::kNever);
        } else if (view.state == shared::LeaseState::kHeld) {
            Verify(index, now_us);
        }
    }
    breaker_.ProbeSoon(now_us);
    for (auto &item : requests_) {
        if (!item.second.in_flight && !item.second.blocked) {
            WaitUntil(item.second, now_us);
        }
    }
    Report(session);
}

void Keeper::OnLaneDown(Session &session, int lane, const redis::Trouble &trouble) {
    const int64 now_us = now_us_;
    std::vector<uint64> tags;
    for (const auto &item : operations_) {
        if (item.second.session == session.id && item.second.lane == lane) {
            tags.push_back(item.first);
        }
    }
    for (const uint64 tag : tags) {
        const auto it = operations_.find(tag);
        Operation operation = std::move(it->second);
        operations_.erase(it);
        Forget(operation, now_us);
    }
    if (trouble.kind != redis::TroubleKind::kNone && &session == active_) {
        if (!session.told_down) {
            session.told_down = true;
            const char *endpoint = session.node->where().c_str();
            const char *text = trouble.text.c_str();
            const char *hint = redis::TroubleHint(trouble.kind);
            pg::Call([&] {
                ereport(LOG, (errmsg("connection to Redis at %s failed: %s", endpoint, text),
                              hint[0] != '\0' ? errhint("%s", hint) : 0));
            });
        }
        Trouble(trouble, now_us);
    }
    Report(session);
}

void Keeper::OnPrimary(Session &session) {
    session.told_no_sentinel = false;
    const char *endpoint = session.node->where().c_str();
    pg::Call([&] { ereport(LOG, (errmsg("Sentinel names the Redis primary at %s", endpoint))); });
    Report(session);
}

void Keeper::OnNoSentinel(Session &session, const redis::Trouble &trouble) {
    if (!std::exchange(session.told_no_sentinel, true)) {
        const char *text = trouble.text.c_str();
        pg::Call([&] {
            ereport(LOG,
                    (errmsg("nobody says where the Redis primary is: %s", text),
                     errhint("Check that Sentinel runs and that inventory_lock.redis_url names "
                             "its hosts and the primary.")));
        });
    }
}

// Counts a failure; opens the breaker when there were enough.
void Keeper::Trouble(const redis::Trouble &trouble, int64 now_us) {
    const auto kind = static_cast<int>(trouble.kind);
    shared::Count(static_cast<shared::Total>(static_cast<int>(shared::Total::kErrorsFirst) + kind));
    if (breaker_.Failed(trouble, now_us)) {
        const char *text = trouble.text.c_str();
        const char *hint = redis::TroubleHint(trouble.kind);
        pg::Call([&] {
            ereport(LOG, (errmsg("Redis does not answer; new locks go without it: %s", text),
                          hint[0] != '\0' ? errhint("%s", hint) : 0));
        });
        FailAll(now_us);
        if (active_ != nullptr) {
            Report(*active_);
        }
    }
}

void Keeper::NoteSuccess(const Operation &operation) {
    if (active_ != nullptr && operation.session == active_->id) {
        breaker_.Succeeded();
    }
}

void Keeper::NoteTrouble(const Operation &operation, const redis::Trouble &trouble, int64 now_us) {
    if (active_ != nullptr && operation.session == active_->id) {
        Trouble(trouble, now_us);
    }
}

// Asks again, whenever a connection is there, until Redis has answered for each.
void Keeper::FreeOrphans(Session &session, int lane, int64 now_us) {
    if (orphans_under_way_ > 0) {
        return;
    }
    for (size_t i = 0; i < orphans_.size(); i++) {
        if (orphans_[i].token.empty()) {
            continue;
        }
        IL_INJECT("worker-freeing-orphan");
        redis::ReleaseKey key;
        key.key = orphans_[i].key;
        key.token = orphans_[i].token;
        Operation operation;
        operation.purpose = Purpose::kOrphan;
        operation.number = i;
        operation.command = redis::MakeRelease(key, kFenceTtlMs);
        orphans_under_way_++;
        Send(session, lane, std::move(operation), now_us);
    }
    IL_INJECT("worker-orphans-sent");
}

void Keeper::OnOrphanFreed(const Operation &operation, const redis::ReleaseAnswer &answer) {
    IL_INJECT("worker-orphan-answered");
    orphans_under_way_--;
    Orphan &orphan = orphans_[operation.number];
    if (!answer.ok) {
        return;  // asked again over the next connection
    }
    if (answer.keys[0] == redis::Ownership::kOurs) {
        shared::Count(shared::Total::kOrphansFreed);
    }
    journal_.EraseOrphan(orphan.record);
    orphan.token.clear();
    IL_INJECT("worker-orphan-erased");
}

}  // namespace inventory_lock::worker
