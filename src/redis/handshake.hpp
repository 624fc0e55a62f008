// What is said on a lane's two fresh connections before it may be used.
//
// Runs in: the worker; pure C++. Two rounds, each pipelined:
//
//   data:        [AUTH] [SELECT] [CLIENT SETNAME] CLIENT ID, INFO server, [INFO replication]
//   subscriber:  [AUTH] [CLIENT SETNAME] CLIENT ID, SUBSCRIBE …
//   then, data:  CLIENT KILL ID of each predecessor, CLIENT TRACKING … REDIRECT, SCRIPT LOAD …,
//   PING
//
// A server that Sentinel has named must be a primary: one that has become a replica answers, too.
//
// The answer to CLIENT KILL is the barrier: a predecessor that is gone executes nothing any more.
// Where there is no predecessor an id that no client has is killed, so that it is known from the
// start whether the barrier can be relied on. PING tells whether the server serves (it may be
// loading).
//
// A refusal of AUTH, SELECT or PING ends the attempt, and so does a reply of the wrong form. The
// other commands may be denied by ACL, or be unknown to an old server, at the price of a service
// less.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "redis/connection.hpp"
#include "redis/node.hpp"

namespace inventory_lock::redis {

inline constexpr std::string_view kInvalidateChannel = "__redis__:invalidate";

// Data connections that must be gone before a lane is used, and the server process they belong to.
struct Predecessors {
    std::vector<int64_t> client_ids;
    std::string run_id;  // "" = not known
};

class Handshake {
  public:
    // The arguments are kept by reference and must outlive this.
    Handshake(const NodeOptions &options, const Predecessors &predecessors)
        : options_(options), predecessors_(predecessors) {}

    void QueueFirstRound(Connection &data, Connection &subscriber, int64_t now_us);
    void QueueSecondRound(Connection &data, int64_t now_us);

    // The reply to a step; a trouble ends the attempt. Its text never holds the password, although
    // an error reply may.
    std::optional<Trouble> OnData(Step step, ReplyView reply);
    std::optional<Trouble> OnSubscriber(Step step, ReplyView reply);

    int64_t client_id() const { return data_id_; }
    const std::string &run_id() const { return run_id_; }
    bool barrier() const { return barrier_ && data_id_ != 0; }
    bool tracking() const { return tracking_; }

  private:
    void Queue(Connection &connection, Step step, int64_t now_us,
               const std::vector<std::string_view> &argv) const;
    void QueueGreeting(Connection &connection, int64_t now_us) const;
    std::optional<Trouble> JudgeData(Step step, ReplyView reply);
    std::optional<Trouble> JudgeSubscriber(Step step, ReplyView reply);
    std::optional<Trouble> WithoutSecret(std::optional<Trouble> trouble, ReplyView reply) const;
    std::optional<Trouble> OnClientId(ReplyView reply, int64_t &id) const;
    std::optional<Trouble> OnInfo(ReplyView reply);
    static std::optional<Trouble> OnRole(ReplyView reply);
    std::optional<Trouble> OnKill(ReplyView reply);
    std::optional<Trouble> OnTracking(ReplyView reply);
    std::optional<Trouble> OnSubscribe(ReplyView reply);

    const NodeOptions &options_;
    const Predecessors &predecessors_;
    int64_t data_id_ = 0;
    int64_t subscriber_id_ = 0;
    std::string run_id_;
    size_t subscriptions_answered_ = 0;
    bool invalidations_ = false;
    bool barrier_ = true;
    bool tracking_ = false;
};

}  // namespace inventory_lock::redis
