// The life of a lane; see lane.hpp. Runs in: the worker; pure C++.

#include "redis/lane.hpp"

#include <algorithm>
#include <utility>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr int64_t kFirstBackoff_us = 50000;
constexpr int64_t kLastBackoff_us = 2000000;
constexpr int64_t kIdlePing_us = 1000000;
// With nothing to wait for, look again after this.
constexpr int64_t kIdleStep_us = 60000000;
// Reads of one connection per turn, so that a flood on one does not starve the others.
constexpr int kReadsPerTurn = 16;

}  // namespace

Lane::Lane(int index, Predecessors predecessors, NodeCommon &common, NodeEvents &events)
    : index_(index),
      common_(common),
      events_(events),
      data_(common.options.max_reply_bytes),
      subscriber_(common.options.max_reply_bytes),
      jitter_(reinterpret_cast<uintptr_t>(this) + static_cast<uint64_t>(index)),
      predecessors_(std::move(predecessors)),
      last_trouble_(common.resolve_trouble) {}

bool Lane::Send(uint64_t tag, const std::vector<std::string_view> &argv, int64_t now_us) {
    if (state_ != LaneState::kReady) {
        return false;
    }
    Pending pending;
    pending.tag = tag;
    pending.sent_us = now_us;
    pending.deadline_us = now_us + common_.options.command_timeout_us;
    data_.Queue(pending, argv);
    common_.commands_sent++;
    return true;
}

int64_t Lane::Step(int64_t now_us) {
    switch (state_) {
        case LaneState::kDown:
            if (now_us >= retry_us_ && !common_.endpoints.empty()) {
                Start(0, now_us);
            } else if (now_us >= retry_us_) {
                last_trouble_ = common_.resolve_trouble;
                retry_us_ = now_us + Backoff(now_us);
                report_ = last_trouble_.kind != TroubleKind::kNone;  // or Sentinel is being asked
            }
            break;
        case LaneState::kConnecting:
            if (now_us >= deadline_us_) {
                FailEndpoint({TroubleKind::kUnreachable, "the connection was not made in time"},
                             now_us);
            }
            break;
        case LaneState::kHandshake:
        case LaneState::kReady:
            CheckDeadline(data_, now_us);
            CheckDeadline(subscriber_, now_us);
            PingIdleSubscriber(now_us);
            break;
    }
    Report();
    return NextStep(now_us);
}

void Lane::Flush() {
    data_.Write();
    subscriber_.Write();
}

bool Lane::Owns(int fd) const {
    return fd >= 0 && (fd == data_.fd() || fd == subscriber_.fd());
}

void Lane::OnSocket(int fd, bool readable, bool writable, int64_t now_us) {
    Connection &connection = fd == data_.fd() ? data_ : subscriber_;
    if (connection.state() == Connect::kConnecting) {
        Trouble trouble;
        if (!connection.FinishConnect(trouble)) {
            FailEndpoint(trouble, now_us);
        } else if (data_.state() == Connect::kOpen && subscriber_.state() == Connect::kOpen) {
            OnConnected(now_us);
        }
    } else if (state_ != LaneState::kConnecting) {
        if (writable) {
            connection.Write();
        }
        if (readable) {
            Pump(connection, now_us);
        }
    } else if (readable) {
        // Open before its twin, and nothing was said yet: only an end can have come.
        Pump(connection, now_us);
    }
    Report();
}

void Lane::AppendSockets(std::vector<Socket> &sockets) const {
    for (const Connection *connection : {&data_, &subscriber_}) {
        if (connection->fd() >= 0) {
            sockets.push_back({connection->fd(), connection->wants_write()});
        }
    }
}

void Lane::Drop(const Trouble &trouble, int64_t now_us) {
    if (state_ == LaneState::kDown) {
        return;
    }
    data_.Close();
    subscriber_.Close();
    handshake_.reset();
    life_++;
    common_.socket_generation++;
    last_trouble_ = trouble;
    retry_us_ = now_us + Backoff(now_us);
    report_ = true;
    Enter(LaneState::kDown, now_us);
}

void Lane::LeaveOldEndpoint(const Trouble &reason, int64_t now_us) {
    const auto found = std::find(common_.endpoints.begin(), common_.endpoints.end(), peer_);
    if (found == common_.endpoints.end()) {
        Drop(reason, now_us);
    } else {
        endpoint_ = static_cast<size_t>(found - common_.endpoints.begin());
    }
}

void Lane::TryNow(int64_t now_us) {
    failures_ = 0;
    retry_us_ = now_us;
}

LaneStatus Lane::status() const {
    LaneStatus status;
    status.state = state_;
    status.since_us = since_us_;
    status.rtt_us = rtt_us_;
    status.last_trouble = last_trouble_;
    if (handshake_) {
        status.client_id = handshake_->client_id();
        status.barrier = handshake_->barrier();
        status.tracking = handshake_->tracking();
    }
    if (state_ == LaneState::kReady) {
        status.outstanding = static_cast<uint32_t>(data_.pending().size());
    }
    return status;
}

// Begins to connect both sockets to one of the endpoints.
void Lane::Start(size_t endpoint, int64_t now_us) {
    endpoint_ = endpoint;
    peer_ = common_.endpoints[endpoint];
    life_++;
    common_.socket_generation++;
    deadline_us_ = now_us + common_.options.connect_timeout_us;
    second_round_ = false;
    Enter(LaneState::kConnecting, now_us);
    Trouble trouble;
    if (!data_.Open(peer_, trouble) || !subscriber_.Open(peer_, trouble)) {
        FailEndpoint(trouble, now_us);
        return;
    }
    if (data_.state() == Connect::kOpen && subscriber_.state() == Connect::kOpen) {
        OnConnected(now_us);
    }
}

void Lane::OnConnected(int64_t now_us) {
    Enter(LaneState::kHandshake, now_us);
    heard_us_ = now_us;
    handshake_.emplace(common_.options, predecessors_);
    handshake_->QueueFirstRound(data_, subscriber_, now_us);
}

void Lane::FailEndpoint(const Trouble &trouble, int64_t now_us) {
    if (endpoint_ + 1 < common_.endpoints.size()) {
        Start(endpoint_ + 1, now_us);
    } else {
        Drop(trouble, now_us);
    }
}

// Reads what is there, within bounds, and hands out complete replies.
void Lane::Pump(Connection &connection, int64_t now_us) {
    for (int i = 0; i < kReadsPerTurn; i++) {
        Trouble end;
        const Received received = connection.Read(end);
        if (received == Received::kNothing) {
            return;
        }
        if (&connection == &subscriber_) {
            heard_us_ = now_us;
        }
        // Replies that were complete before the peer closed are worth having.
        Trouble trouble;
        while (ReplyOwner reply = connection.Take(trouble)) {
            if (!Dispatch(connection, std::move(reply), now_us)) {
                return;
            }
        }
        if (trouble.kind != TroubleKind::kNone) {
            Drop(trouble, now_us);
            return;
        }
        if (received == Received::kEnd) {
            Drop(end, now_us);
        }
        if (received != Received::kBytes) {
            return;
        }
    }
}

// False when the lane has ended on it.
bool Lane::Dispatch(Connection &connection, ReplyOwner reply, int64_t now_us) {
    const uint64_t life = life_;
    const ReplyView view(reply.get());
    if (&connection == &data_) {
        OnDataReply(view, now_us);
    } else {
        OnSubscriberReply(view, now_us);
    }
    if (life == life_ && state_ == LaneState::kHandshake) {
        AdvanceHandshake(now_us);
    }
    return life == life_;
}

void Lane::OnDataReply(ReplyView reply, int64_t now_us) {
    if (data_.pending().empty()) {
        Drop({TroubleKind::kProtocol, "the server sent a reply that nobody asked for"}, now_us);
        return;
    }
    const Pending pending = data_.pending().front();
    data_.pending().pop_front();
    if (pending.step == Step::kCommand) {
        const int64_t rtt_us = std::max<int64_t>(0, now_us - pending.sent_us);
        rtt_us_ = rtt_us_ < 0 ? rtt_us : rtt_us_ + (rtt_us - rtt_us_) / 8;
        events_.OnReply(index_, pending.tag, reply);
    } else if (const std::optional<Trouble> trouble = handshake_->OnData(pending.step, reply)) {
        Drop(*trouble, now_us);
    }
}

void Lane::OnSubscriberReply(ReplyView reply, int64_t now_us) {
    if (reply[0].Text() == "message") {
        OnMessage(reply, now_us);
        return;
    }
    if (subscriber_.pending().empty()) {
        Drop({TroubleKind::kProtocol, "the server sent a reply that nobody asked for"}, now_us);
        return;
    }
    const Pending pending = subscriber_.pending().front();
    subscriber_.pending().pop_front();
    if (pending.step == Step::kPing) {
        // "pong" in subscriber mode; where no channel may be subscribed to, PONG; or it is denied.
        if (reply[0].Text() != "pong" && reply.Text() != "PONG" && !reply.IsError()) {
            Drop({TroubleKind::kProtocol, "the reply to PING has an unknown form"}, now_us);
        }
    } else if (const std::optional<Trouble> trouble =
                   handshake_->OnSubscriber(pending.step, reply)) {
        Drop(*trouble, now_us);
    }
}

// A published message: keys that changed (null = any may have), or somebody's recall.
void Lane::OnMessage(ReplyView reply, int64_t now_us) {
    const uint64_t life = life_;
    const std::string_view channel = reply[1].Text();
    const ReplyView payload = reply[2];
    if (reply.size() == 3 && channel == kInvalidateChannel && payload.IsArray()) {
        for (size_t i = 0; i < payload.size() && life == life_; i++) {
            events_.OnInvalidated(index_, payload[i].Text());
        }
    } else if (reply.size() == 3 && channel == kInvalidateChannel && payload.IsNil()) {
        events_.OnAllInvalidated(index_);
    } else if (reply.size() == 3 && !channel.empty() && channel == common_.options.recall_channel) {
        events_.OnRecall(index_, payload.Text());
    } else {
        Drop({TroubleKind::kProtocol, "a published message has an unknown form"}, now_us);
    }
}

void Lane::AdvanceHandshake(int64_t now_us) {
    if (!data_.pending().empty() || (!second_round_ && !subscriber_.pending().empty())) {
        return;
    }
    if (!second_round_) {
        second_round_ = true;
        handshake_->QueueSecondRound(data_, now_us);
        return;
    }
    predecessors_.client_ids = {handshake_->client_id()};
    if (handshake_->client_id() == 0) {
        predecessors_.client_ids.clear();
    }
    predecessors_.run_id = handshake_->run_id();
    common_.run_id = handshake_->run_id();
    failures_ = 0;
    Enter(LaneState::kReady, now_us);
    events_.OnLaneReady(index_);
}

// Gives the lane up when an answer is overdue; but what has arrived while nobody looked is read
// first, because then it was we who were late.
void Lane::CheckDeadline(Connection &connection, int64_t now_us) {
    const auto overdue = [&] {
        return !connection.pending().empty() && connection.pending().front().deadline_us <= now_us;
    };
    const uint64_t life = life_;
    if (!overdue()) {
        return;
    }
    Pump(connection, now_us);
    if (life == life_ && overdue()) {
        Drop({TroubleKind::kTimeout, "an answer did not come in time"}, now_us);
    }
}

void Lane::PingIdleSubscriber(int64_t now_us) {
    if (state_ != LaneState::kReady || !subscriber_.pending().empty() ||
        now_us < heard_us_ + kIdlePing_us) {
        return;
    }
    Pending pending;
    pending.step = Step::kPing;
    pending.sent_us = now_us;
    pending.deadline_us = now_us + common_.options.command_timeout_us;
    subscriber_.Queue(pending, {"PING"});
}

int64_t Lane::NextStep(int64_t now_us) const {
    switch (state_) {
        case LaneState::kDown:
            return retry_us_;
        case LaneState::kConnecting:
            return deadline_us_;
        case LaneState::kHandshake:
        case LaneState::kReady:
            break;
    }
    int64_t next_us = now_us + kIdleStep_us;
    for (const Connection *connection : {&data_, &subscriber_}) {
        if (!connection->pending().empty()) {
            next_us = std::min(next_us, connection->pending().front().deadline_us);
        }
    }
    if (state_ == LaneState::kReady && subscriber_.pending().empty()) {
        next_us = std::min(next_us, heard_us_ + kIdlePing_us);
    }
    return next_us;
}

void Lane::Enter(LaneState state, int64_t now_us) {
    state_ = state;
    since_us_ = now_us;
}

// Tells the owner of an end that it has not heard of.
void Lane::Report() {
    if (report_) {
        report_ = false;
        const Trouble trouble = last_trouble_;
        events_.OnLaneDown(index_, trouble);
    }
}

// 50 ms, 100 ms, … 2 s, each between 75 % and 125 %, so that lanes and clusters spread out.
int64_t Lane::Backoff(int64_t now_us) {
    constexpr int kMaxDoublings = 6;
    const int64_t pause_us =
        std::min(kFirstBackoff_us << std::min(failures_, kMaxDoublings), kLastBackoff_us);
    failures_++;
    jitter_ += static_cast<uint64_t>(now_us);
    jitter_ = jitter_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
    return pause_us * 3 / 4 + static_cast<int64_t>((jitter_ >> 33) % (pause_us / 2));
}

}  // namespace inventory_lock::redis
