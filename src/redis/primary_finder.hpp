// Asks Redis Sentinel where the primary is, and goes on asking, so that a failover is heard of also
// by who can still reach the old one.
//
// Runs in: the worker; pure C++. Never blocks, but for the resolver where a Sentinel, or the
// primary, is given by name. A name is resolved again when none of its addresses has helped, less
// and less often; what is known of a Sentinel's stays in use when that fails.
//
// One Sentinel is asked as long as it answers: every second while the primary serves, every 100 ms
// otherwise. An address that fails, does not know the primary, or has named one for a second that
// does not serve, makes way for the next, of its name or of the list; when none has answered, the
// list is begun anew after 1, 2, 4, 8 s. Sentinels that want a password get that of Redis.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "redis/address.hpp"
#include "redis/connection.hpp"
#include "redis/node.hpp"

namespace inventory_lock::redis {

struct NodeCommon;

class PrimaryFinder {
  public:
    explicit PrimaryFinder(NodeCommon &common);

    // `served`: the primary is there, and does what it is asked. Returns when to call again.
    int64_t Step(int64_t now_us, bool served);
    void Flush() { connection_.Write(); }
    bool Owns(int fd) const { return fd >= 0 && fd == connection_.fd(); }
    void OnSocket(bool readable, bool writable, int64_t now_us);
    void AppendSockets(std::vector<Socket> &sockets) const;

    // Where the primary is, once after it was named for the first time, after it has moved, and now
    // and then while it does not serve, as its name may be another address's by now.
    std::optional<HostPort> TakeNews();
    // Why nobody could say where the primary is, once after the whole list was asked in vain.
    std::optional<Trouble> TakeTrouble();

  private:
    void Connect(int64_t now_us);
    void Ask(int64_t now_us);
    void Queue(redis::Step step, const std::vector<std::string_view> &argv, int64_t now_us);
    void Read(int64_t now_us);
    void OnReply(redis::Step step, ReplyView reply, int64_t now_us);
    void OnAddress(ReplyView reply, int64_t now_us);
    void Next(const Trouble &trouble, int64_t now_us);
    bool IsOverdue(int64_t now_us) const;

    // Resolving something, again and again: not more often than every 1, 2, 4, … 30 s.
    struct Pause {
        int64_t next_us = 0;
        int64_t length_us = 0;

        void Begin(int64_t now_us);
    };
    struct Sentinel {
        std::vector<Endpoint> endpoints;
        Trouble trouble;    // why there are none
        bool stale = true;  // none of them has helped
        Pause pause;
    };

    NodeCommon &common_;
    Connection connection_;
    std::vector<Sentinel> sentinels_;  // beside those of the address
    size_t sentinel_ = 0;
    size_t endpoint_ = 0;
    size_t failed_ = 0;  // of the list, one after the other
    bool served_ = false;
    bool authenticated_ = false;     // AUTH was sent on this connection
    int64_t connect_us_ = 0;         // closed: when to connect
    int64_t deadline_us_ = 0;        // connecting: when it is given up
    int64_t ask_us_ = 0;             // open: when to ask next
    int64_t unserved_since_us_ = 0;  // since when this Sentinel's primary does not serve
    int64_t pause_us_;
    int64_t connected_us_ = 0;  // when the latest attempt to connect began
    Pause name_pause_;          // of the primary's name
    HostPort primary_;
    bool news_ = false;
    std::optional<Trouble> trouble_;
};

}  // namespace inventory_lock::redis
