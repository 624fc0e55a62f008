// A lane: a data connection, the subscriber connection beside it, and their common life.
//
// Runs in: the worker; pure C++, never blocks. node.hpp has the contract and the states; a Node
// owns its lanes and passes the owner's calls on. Whatever goes wrong on either connection closes
// both. The owner hears of it when control is back in OnSocket() or Step(), so that it is not
// called while it is itself calling.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "redis/connection.hpp"
#include "redis/endpoint.hpp"
#include "redis/handshake.hpp"
#include "redis/node.hpp"

namespace inventory_lock::redis {

// What the lanes of a node have in common.
struct NodeCommon {
    NodeOptions options;
    std::vector<Endpoint> endpoints;
    Trouble resolve_trouble;  // why the name could not be resolved, the last time that it failed
    std::string run_id;
    uint64_t socket_generation = 0;
    uint64_t commands_sent = 0;
};

class Lane {
  public:
    Lane(int index, Predecessors predecessors, NodeCommon &common, NodeEvents &events);

    bool Send(uint64_t tag, const std::vector<std::string_view> &argv, int64_t now_us);
    int64_t Step(int64_t now_us);
    void Flush();
    bool Owns(int fd) const;
    void OnSocket(int fd, bool readable, bool writable, int64_t now_us);
    void AppendSockets(std::vector<Socket> &sockets) const;
    void Drop(const Trouble &trouble, int64_t now_us);
    // The endpoints have changed: drops a lane to one that is no longer among them, for this
    // reason.
    void LeaveOldEndpoint(const Trouble &reason, int64_t now_us);
    // Forgets how often it has failed, and tries again now if it is down.
    void TryNow(int64_t now_us);
    LaneState state() const { return state_; }
    LaneStatus status() const;
    const Predecessors &predecessors() const { return predecessors_; }

  private:
    void Start(size_t endpoint, int64_t now_us);
    void OnConnected(int64_t now_us);
    void FailEndpoint(const Trouble &trouble, int64_t now_us);
    void Pump(Connection &connection, int64_t now_us);
    bool Dispatch(Connection &connection, ReplyOwner reply, int64_t now_us);
    void OnDataReply(ReplyView reply, int64_t now_us);
    void OnSubscriberReply(ReplyView reply, int64_t now_us);
    void OnMessage(ReplyView reply, int64_t now_us);
    void AdvanceHandshake(int64_t now_us);
    void CheckDeadline(Connection &connection, int64_t now_us);
    void PingIdleSubscriber(int64_t now_us);
    int64_t NextStep(int64_t now_us) const;
    void Enter(LaneState state, int64_t now_us);
    void Report();
    int64_t Backoff(int64_t now_us);

    const int index_;
    NodeCommon &common_;
    NodeEvents &events_;

    Connection data_;
    Connection subscriber_;
    LaneState state_ = LaneState::kDown;
    int64_t since_us_ = 0;
    uint64_t life_ =
        0;  // grows with every Start and every end: tells whether a callback dropped us
    size_t endpoint_ = 0;
    Endpoint peer_;            // what that was when the lane was started
    int64_t deadline_us_ = 0;  // Connecting: when this endpoint is given up
    int64_t retry_us_ = 0;     // Down: when to try again
    int failures_ = 0;         // since the lane was last Ready
    uint64_t jitter_;
    std::optional<Handshake> handshake_;
    bool second_round_ = false;
    int64_t heard_us_ = 0;  // when the subscriber last got a byte
    int64_t rtt_us_ = -1;

    Predecessors predecessors_;  // from Ready on: our own data connection
    Trouble last_trouble_;
    bool report_ = false;  // OnLaneDown is owed
};

}  // namespace inventory_lock::redis
