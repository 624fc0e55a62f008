// The keeper's frame: sessions, one turn of the loop, and what it reports. See keeper.hpp.
// Runs in: the worker.

#include "worker/keeper.hpp"

#include "pg/boundary.hpp"
#include "worker/keeper_state.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::worker {

namespace {

constexpr size_t kRandomDigits = 32;
constexpr int64 kReportEveryUs = 1000000;
constexpr int64 kBusySleepUs = 200 * kUsPerMs;  // the heartbeat that waiting backends look for
constexpr int64 kIdleSleepUs = 60 * 1000000;
constexpr int64 kCheckLeftUs = 1000000;  // what is left on a server that is left

void CopyText(char *target, size_t size, std::string_view text) {
    const size_t length = std::min(text.size(), size - 1);
    memcpy(target, text.data(), length);
    target[length] = '\0';
}

}  // namespace

Keeper::Keeper(Journal &journal, std::vector<Orphan> orphans, bool same_life)
    : journal_(journal),
      foreign_list_("pg:" + journal.instance() + ":"),
      orphans_(std::move(orphans)),
      instance_(journal.instance()),
      local_(static_cast<size_t>(shared::Leases()->capacity)) {
    token_prefix_ =
        "pg:" + journal.instance() + ":" + std::string(shared::Get()->worker.boot) + ":";
    if (!same_life) {
        return;
    }
    // What an earlier worker had under way is Unknown; what it held is ours.
    for (size_t i = 0; i < local_.size(); i++) {
        const auto index = static_cast<int32>(i);
        shared::LeaseEntry *entry = EntryAt(index);
        bool open = false;
        Locked(entry, [&] {
            if (entry->state == shared::LeaseState::kAcquiring ||
                entry->state == shared::LeaseState::kReleasing) {
                entry->state = shared::LeaseState::kUnknown;
            }
            entry->may_linger = false;  // who else wanted the key is forgotten
            open = entry->state == shared::LeaseState::kUnknown ||
                   entry->state == shared::LeaseState::kHeld;
        });
        if (open) {
            takeover_.push_back(index);
            CheckAt(index, ViewOf(entry).deadline_us);
        }
    }
    slots_open_ = true;
}

Keeper::~Keeper() = default;

void Keeper::Use(std::unique_ptr<redis::NodeOptions> options, uint64 endpoint_hash, int64 now_us) {
    now_us_ = now_us;
    shared::Worker *worker = &shared::Get()->worker;
    if (active_ != nullptr) {
        active_->drained_at_us = now_us;
    }
    active_ = nullptr;
    breaker_.Reset();
    if (options != nullptr) {
        auto session = std::make_unique<Session>(*this, next_session_++);
        session->endpoint_hash = endpoint_hash;
        options->recall_channel = redis::RecallChannel(instance_);
        for (int script = 0; script < redis::kScripts; script++) {
            options->scripts.emplace_back(redis::ScriptText(static_cast<redis::Script>(script)));
        }
        SpinLockAcquire(&worker->mutex);
        const bool same_server = worker->endpoint_hash == endpoint_hash;
        const int32 kill_count = same_server && sessions_.empty() ? worker->kill_count : 0;
        int64 kill_ids[shared::kMaxLanes];
        char run_id[sizeof(worker->run_id)];
        memcpy(kill_ids, worker->kill_ids, sizeof(kill_ids));
        memcpy(run_id, worker->run_id, sizeof(run_id));
        SpinLockRelease(&worker->mutex);
        options->old_client_ids.assign(kill_ids, kill_ids + kill_count);
        options->old_run_id = run_id;
        session->node = std::make_unique<redis::Node>(std::move(*options), *session);
        session->took_over = !sessions_.empty();
        active_ = session.get();
        sessions_.push_back(std::move(session));
    }
    SpinLockAcquire(&worker->mutex);
    CopyText(worker->endpoint, sizeof(worker->endpoint),
             active_ != nullptr ? std::string_view(active_->node->where()) : std::string_view());
    worker->endpoint_hash = active_ != nullptr ? endpoint_hash : 0;
    worker->lane_count = 0;
    SpinLockRelease(&worker->mutex);
    for (size_t i = 0; i < local_.size(); i++) {
        if (local_[i].session != 0) {
            if (ViewOf(EntryAt(static_cast<int32>(i))).interest == 0) {
                LookAt(static_cast<int32>(i), now_us);
            }
            CheckAt(static_cast<int32>(i), now_us + kCheckLeftUs);
        }
    }
    for (auto &item : requests_) {
        WaitUntil(item.second, now_us);
    }
    if (std::exchange(slots_open_, false)) {  // only now is it known whom to ask
        shared::SlotArray *slots = shared::Slots();
        for (int32 index = 0; index < slots->count; index++) {
            const uint64 word = pg_atomic_read_u64(&shared::SlotAt(slots, index)->word);
            if (shared::StateOf(word) == shared::SlotState::kFilled ||
                shared::StateOf(word) == shared::SlotState::kTaken) {
                TakeSlot(index, now_us);
            }
        }
    }
}

void Keeper::ResolveAgain(int64 now_us) {
    now_us_ = now_us;
    if (active_ != nullptr) {
        active_->node->ResolveAgain(now_us);
    }
    foreign_list_.ResolveAgain(now_us);
}

void Keeper::UseReplica(std::unique_ptr<redis::NodeOptions> options) {
    foreign_list_.Use(std::move(options));
}

int64 Keeper::Turn(int64 now_us) {
    now_us_ = now_us;
    if (linger_ms_ != pg::settings::lease_linger_ms) {
        OnLingerChanged(now_us);
    }
    TakeWork(now_us);
    CheckDue(now_us);
    RetryDue(now_us);
    WatchWaits(now_us);
    int64 next_us = now_us + (requests_.empty() ? kIdleSleepUs : kBusySleepUs);
    if (active_ != nullptr) {
        active_->node->NoteRefusal(!breaker_.closed());
    }
    for (const auto &session : sessions_) {
        next_us = std::min<int64>(next_us, session->node->Step(now_us));
    }
    next_us = std::min(next_us, foreign_list_.Step(now_us));
    if (active_ != nullptr && breaker_.ProbeDue(now_us)) {
        const int lane = PickLane(*active_, kNoLane, 0);
        Operation operation;
        operation.purpose = Purpose::kProbe;
        const std::string key = redis::FenceKey(instance_);
        if (lane == kNoLane) {
            breaker_.ProbeEnded(false, now_us);
        } else {
            SendPlain(*active_, lane, std::move(operation), {"SET", key, "1", "PX", "1000"},
                      now_us);
        }
    }
    next_us = std::min({next_us, waits_due_us_, breaker_.NextProbeUs()});
    SendReleases(now_us);
    SendExtends(now_us);
    uint64 commands = 0;
    for (const auto &session : sessions_) {
        session->node->Flush(now_us);
        commands += session->node->commands_sent();
    }
    foreign_list_.Flush(now_us);
    if (commands > commands_reported_) {
        shared::Count(shared::Total::kCommands, commands - commands_reported_);
    }
    commands_reported_ = commands;
    if (!checks_.empty()) {
        next_us = std::min(next_us, checks_.top().first);
    }
    if (!retries_.empty()) {
        next_us = std::min(next_us, retries_.top().first);
    }
    if (now_us >= report_due_us_ && active_ != nullptr) {
        report_due_us_ = now_us + kReportEveryUs;
        Report(*active_);
    }
    // A server that is no longer configured goes once nothing of ours is there.
    for (auto it = sessions_.begin(); it != sessions_.end();) {
        Session *session = it->get();
        const bool used = session == active_ ||
                          std::any_of(local_.begin(), local_.end(), [&](const Local &local) {
                              return local.session == session->id;
                          });
        if (used) {
            ++it;
            continue;
        }
        closed_generations_ += session->node->socket_generation() + 1;
        commands_reported_ -= session->node->commands_sent();
        it = sessions_.erase(it);
    }
    return next_us;
}

void Keeper::Sockets(std::vector<redis::Socket> *sockets) const {
    sockets->clear();
    for (const auto &session : sessions_) {
        const std::vector<redis::Socket> some = session->node->Sockets();
        sockets->insert(sockets->end(), some.begin(), some.end());
    }
    const std::vector<redis::Socket> some = foreign_list_.Sockets();
    sockets->insert(sockets->end(), some.begin(), some.end());
}

uint64 Keeper::socket_generation() const {
    uint64 sum = closed_generations_ + foreign_list_.socket_generation();
    for (const auto &session : sessions_) {
        sum += session->node->socket_generation();
    }
    return sum;
}

void Keeper::OnSocket(int fd, bool readable, bool writable, int64 now_us) {
    now_us_ = now_us;
    for (const auto &session : sessions_) {
        if (session->node->OnSocket(fd, readable, writable, now_us)) {
            return;
        }
    }
    foreign_list_.OnSocket(fd, readable, writable, now_us);
}

bool Keeper::Quiet() const {
    for (size_t i = 0; i < local_.size(); i++) {
        if (EntryAt(static_cast<int32>(i))->key_length != 0 &&
            ViewOf(EntryAt(static_cast<int32>(i))).interest > 0) {
            return false;
        }
    }
    return true;
}

bool Keeper::Settled() const {
    return operations_.empty() && to_release_.empty();
}

void Keeper::ReleaseIdle(int64 now_us) {
    now_us_ = now_us;
    for (size_t i = 0; i < local_.size(); i++) {
        const View view = ViewOf(EntryAt(static_cast<int32>(i)));
        if (view.state == shared::LeaseState::kHeld && view.interest == 0) {
            Release(static_cast<int32>(i), 0, now_us, Unless::kWanted);
        }
    }
    SendReleases(now_us);
    for (const auto &session : sessions_) {
        session->node->Flush(now_us);
    }
}

bool Keeper::reachable() const {
    return active_ != nullptr && active_->AnyReady();
}

void Keeper::Report(Session &session) {
    if (&session != active_) {
        return;
    }
    shared::Worker *worker = &shared::Get()->worker;
    shared::LaneReport reports[shared::kMaxLanes];
    memset(reports, 0, sizeof(reports));
    const int lanes = std::min(session.node->lanes(), shared::kMaxLanes);
    const TimestampTz now = GetCurrentTimestamp();
    for (int lane = 0; lane < lanes; lane++) {
        const redis::LaneStatus status = session.node->status(lane);
        shared::LaneReport &report = reports[lane];
        report.client_id = status.client_id;
        report.state = static_cast<int32>(status.state);
        report.rtt_us = status.rtt_us;
        report.since = now - (now_us_ - status.since_us);
        report.tracking = status.tracking;
        report.barrier = status.barrier;
        // A lane that is up may still hear nothing but errors: those are the breaker's to tell.
        const bool refused = status.state == redis::LaneState::kReady && !breaker_.closed();
        const redis::Trouble &trouble = refused ? breaker_.trouble() : status.last_trouble;
        report.trouble = static_cast<int32>(trouble.kind);
        CopyText(report.last_error, sizeof(report.last_error), trouble.text);
    }
    const std::vector<int64_t> kill = session.node->client_ids_to_kill();
    const std::string run_id = session.node->run_id();
    const std::string &where = session.node->where();
    SpinLockAcquire(&worker->mutex);
    CopyText(worker->endpoint, sizeof(worker->endpoint), where);
    worker->lane_count = lanes;
    memcpy(worker->lanes, reports, sizeof(reports));
    worker->kill_count = 0;
    for (const int64_t id : kill) {
        if (worker->kill_count < shared::kMaxLanes) {
            worker->kill_ids[worker->kill_count++] = id;
        }
    }
    CopyText(worker->run_id, sizeof(worker->run_id), run_id);
    SpinLockRelease(&worker->mutex);
}

bool Keeper::AbandonedServer(int32 index, int64 now_us) const {
    const Session *session = SessionOf(local_[static_cast<size_t>(index)].session);
    if (session == nullptr) {
        return sessions_.empty() || active_ == nullptr || active_->took_over;
    }
    return session != active_ && !session->AnyReady() &&
           now_us - session->drained_at_us >
               ViewOf(EntryAt(index)).ttl_ms * kUsPerMs + kUsPerMs * 1000;
}

Keeper::Session *Keeper::SessionOf(uint32 id) const {
    for (const auto &session : sessions_) {
        if (session->id == id) {
            return session.get();
        }
    }
    return nullptr;
}

shared::LeaseEntry *Keeper::EntryAt(int32 index) const {
    return shared::Entry(shared::Leases(), index);
}

// The lane to use: the wanted one if it is given, else the key's home, else any that is up.
int Keeper::PickLane(const Session &session, int wanted, uint64 hash) const {
    const int lanes = session.node->lanes();
    if (wanted != kNoLane) {
        return session.Ready(wanted) ? wanted : kNoLane;
    }
    const int home = static_cast<int>(hash % static_cast<uint64>(lanes));
    for (int i = 0; i < lanes; i++) {
        const int lane = (home + i) % lanes;
        if (session.Ready(lane)) {
            return lane;
        }
    }
    return kNoLane;
}

// Fills kTokenBytes.
void Keeper::MakeToken(char *token) const {
    const size_t length = token_prefix_.size();
    Assert(length + kRandomDigits < shared::kTokenBytes);
    memcpy(token, token_prefix_.data(), length);
    RandomHex(token + length, kRandomDigits);
    token[length + kRandomDigits] = '\0';
}

std::string Keeper::KeyOf(int32 index) const {
    const shared::LeaseEntry *entry = EntryAt(index);
    return std::string(entry->key, entry->key_length);
}

int32 Keeper::FindKey(std::string_view key, shared::LeaseMode mode) const {
    if (key.size() >= shared::kKeyBytes ||
        (mode == shared::LeaseMode::kIntent &&
         key.substr(0, shared::kSharedKeys.size()) != shared::kSharedKeys)) {
        return -1;
    }
    const uint64 hash = shared::HashOfMode(shared::HashKey(key), mode);
    return pg::Call([&] { return shared::Find(shared::Leases(), key.data(), key.size(), hash); });
}

}  // namespace inventory_lock::worker
