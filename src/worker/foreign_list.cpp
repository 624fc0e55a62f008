// Lists the locks that others hold; see foreign_list.hpp. Runs in: the worker.

#include "worker/foreign_list.hpp"

#include "pg/boundary.hpp"
#include "pg/clock.hpp"
#include "redis/lock_protocol.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::worker {

namespace {

constexpr int kLane = 0;
constexpr int64 kUsPerMs = 1000;
constexpr int64 kIdleUs = 60 * 1000000;

// One step through all keys: [next cursor, key, token, PTTL, …] of what looks like a lock. A key of
// another type has no token.
constexpr std::string_view kListScript =
    "local step = redis.call('SCAN', ARGV[1], 'MATCH', '*lock:*', 'COUNT', 500) "
    "local answer = {step[1]} "
    "for _, key in ipairs(step[2]) do "
    "if string.sub(key, 1, 5) == 'lock:' or string.sub(key, 1, 15) == 'inventory_lock:' then "
    "local token = redis.pcall('GET', key) "
    "if type(token) ~= 'string' then token = '' end "
    "answer[#answer + 1] = key "
    "answer[#answer + 1] = token "
    "answer[#answer + 1] = redis.call('PTTL', key) "
    "end end "
    "return answer";

constexpr int64 kGone = -2;  // PTTL of a key that is not there any more

void CopyText(char *target, size_t size, std::string_view text) {
    const size_t length = std::min(text.size(), size - 1);
    memcpy(target, text.data(), length);
    target[length] = '\0';
}

}  // namespace

void ForeignList::Use(std::unique_ptr<redis::NodeOptions> options) {
    Answer(&served_, shared::Outcome::kUnavailable);
    Answer(&waiting_, shared::Outcome::kUnavailable);
    making_ = false;
    if (node_ != nullptr) {
        closed_generations_ += node_->socket_generation() + 1;
        node_.reset();
    }
    endpoint_.clear();
    last_error_.clear();
    told_down_ = false;
    if (options != nullptr) {
        endpoint_ = options->address.Text();
        options->lanes = 1;
        node_ = std::make_unique<redis::Node>(std::move(*options), *this);
        if (!node_->resolved()) {
            last_error_ = "its host name is not known";
        }
    }
    Report();
}

void ForeignList::ResolveAgain(int64 now_us) {
    now_us_ = now_us;
    if (node_ != nullptr) {
        node_->ResolveAgain(now_us);
    }
}

void ForeignList::Want(int32 slot, uint64 number, int64 now_us) {
    now_us_ = now_us;
    waiting_.push_back({slot, number});
    const redis::LaneStatus status = node_ != nullptr ? node_->status(kLane) : redis::LaneStatus();
    const bool failed = status.state == redis::LaneState::kDown &&
                        status.last_trouble.kind != redis::TroubleKind::kNone;
    if (node_ == nullptr || !node_->resolved() || failed) {
        Answer(&waiting_, shared::Outcome::kUnavailable);
    } else if (!making_ && status.state == redis::LaneState::kReady) {
        Begin();
    }
    // Else it is coming up, or a list is being made: OnLaneReady(), OnLaneDown(), OnReply() go on.
}

int64 ForeignList::Step(int64 now_us) {
    now_us_ = now_us;
    return node_ != nullptr ? node_->Step(now_us) : now_us + kIdleUs;
}

void ForeignList::Flush(int64 now_us) {
    if (node_ != nullptr) {
        node_->Flush(now_us);
    }
}

std::vector<redis::Socket> ForeignList::Sockets() const {
    return node_ != nullptr ? node_->Sockets() : std::vector<redis::Socket>();
}

uint64 ForeignList::socket_generation() const {
    return closed_generations_ + (node_ != nullptr ? node_->socket_generation() : 0);
}

void ForeignList::OnSocket(int fd, bool readable, bool writable, int64 now_us) {
    now_us_ = now_us;
    if (node_ != nullptr) {
        node_->OnSocket(fd, readable, writable, now_us);
    }
}

void ForeignList::OnLaneReady(int) {
    if (std::exchange(told_down_, false)) {
        const char *endpoint = endpoint_.c_str();
        pg::Call([&] { ereport(LOG, (errmsg("connected to Redis at %s again", endpoint))); });
    }
    last_error_.clear();
    if (!making_ && !waiting_.empty()) {
        Begin();
    }
    Report();
}

void ForeignList::OnLaneDown(int, const redis::Trouble &trouble) {
    making_ = false;
    if (trouble.kind != redis::TroubleKind::kNone) {
        last_error_ = trouble.text;
        if (!std::exchange(told_down_, true)) {
            const char *endpoint = endpoint_.c_str();
            const char *text = trouble.text.c_str();
            pg::Call([&] {
                ereport(LOG, (errmsg("connection to Redis at %s failed: %s", endpoint, text),
                              errdetail("inventory_lock.redis_replica_url names it. Only the view "
                                        "active_locks misses it.")));
            });
        }
    }
    Report();
    Answer(&served_, shared::Outcome::kUnavailable);
    Answer(&waiting_, shared::Outcome::kUnavailable);
}

void ForeignList::Begin() {
    served_.swap(waiting_);
    found_.clear();
    seen_.clear();
    more_ = false;
    making_ = true;
    AskFrom("0");
}

void ForeignList::AskFrom(std::string_view cursor) {
    if (!node_->Send(kLane, ++tag_, {"EVAL", kListScript, "0", cursor}, now_us_)) {
        making_ = false;
        Answer(&served_, shared::Outcome::kUnavailable);
    }
}

void ForeignList::OnReply(int, uint64_t tag, redis::ReplyView reply) {
    if (!making_ || tag != tag_) {
        return;
    }
    const std::optional<int64_t> cursor = reply[0].Integer();
    if (!cursor) {
        last_error_ = redis::TroubleOfReply(reply.Text()).text;
        making_ = false;
        Report();
        Answer(&served_, shared::Outcome::kUnavailable);
    } else {
        for (size_t i = 1; i + 2 < reply.size(); i += 3) {
            Add(reply[i], reply[i + 1], reply[i + 2]);
        }
        const bool wanted = std::any_of(served_.begin(), served_.end(), [](const Asker &asker) {
            return shared::IsTaken(shared::SlotAt(shared::Slots(), asker.slot), asker.number);
        });
        if (wanted && *cursor != 0 && !more_) {
            AskFrom(reply[0].Text());
            return;
        }
        making_ = false;
        if (wanted) {
            last_error_.clear();
            Publish();
            Report();
        }
        Answer(&served_, shared::Outcome::kGranted);
    }
    if (!waiting_.empty()) {
        Begin();
    }
}

void ForeignList::Add(redis::ReplyView key, redis::ReplyView token, redis::ReplyView pttl) {
    const std::string_view name = key.Text();
    const int64 ttl_ms = pttl.Integer().value_or(kGone);
    const std::string_view holder = redis::HolderBeside(token.Text(), our_prefix_);
    const bool ours = holder.empty() && !token.Text().empty();
    if (name.empty() || name.size() >= shared::kKeyBytes || ttl_ms == kGone || ours ||
        !seen_.emplace(name).second) {
        return;
    }
    if (found_.size() >= static_cast<size_t>(shared::kForeignLocks)) {
        more_ = true;
        return;
    }
    shared::ForeignLock lock;
    CopyText(lock.key, sizeof(lock.key), name);
    CopyText(lock.token, sizeof(lock.token), redis::Printable(holder));
    lock.until_us = ttl_ms < 0 ? -1 : now_us_ + ttl_ms * kUsPerMs;
    found_.push_back(lock);
}

void ForeignList::Publish() {
    shared::ForeignLocks *list = &shared::Get()->foreign_locks;
    LWLock *lock = shared::ForeignLocksLock(shared::Leases());
    pg::Call([&] { LWLockAcquire(lock, LW_EXCLUSIVE); });
    list->count = static_cast<int32>(found_.size());
    list->more = more_;
    std::copy(found_.begin(), found_.end(), list->locks);
    pg::Call([&] { LWLockRelease(lock); });
}

void ForeignList::Answer(std::vector<Asker> *askers, shared::Outcome outcome) {
    for (const Asker &asker : *askers) {
        shared::Slot *slot = shared::SlotAt(shared::Slots(), asker.slot);
        if (shared::Answer(slot, asker.number, outcome, 0, 0)) {
            shared::WakeProcess(asker.slot);
        }
    }
    askers->clear();
}

// For redis_status, and for the backends that are told "unavailable": before they are.
void ForeignList::Report() {
    shared::LaneReport report;
    memset(&report, 0, sizeof(report));
    report.rtt_us = -1;
    report.since = GetCurrentTimestamp();
    if (node_ != nullptr) {
        const redis::LaneStatus status = node_->status(kLane);
        report.client_id = status.client_id;
        report.state = static_cast<int32>(status.state);
        report.rtt_us = status.rtt_us;
        report.since -= status.since_us == 0 ? 0 : pg::BootUs() - status.since_us;
        report.tracking = status.tracking;
        report.trouble = static_cast<int32>(status.last_trouble.kind);
    }
    CopyText(report.last_error, sizeof(report.last_error), last_error_);
    shared::Worker *worker = &shared::Get()->worker;
    SpinLockAcquire(&worker->mutex);
    CopyText(worker->replica_endpoint, sizeof(worker->replica_endpoint), endpoint_);
    worker->replica = report;
    SpinLockRelease(&worker->mutex);
}

}  // namespace inventory_lock::worker
