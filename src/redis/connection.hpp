// One socket to Redis: what is to be written, what was read, and who waits for which reply.
//
// Runs in: the worker; pure C++, never blocks. Replies come in the order of the commands, so the
// outstanding ones are a queue. A failed write is not reported by itself: the reading side of the
// socket, or the deadline of what waits, tells of it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "redis/endpoint.hpp"
#include "redis/reply.hpp"
#include "redis/reply_reader.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::redis {

// What a reply will be the answer to: a step of the handshake, or a command of the owner's.
enum class Step : uint8_t {
    kCommand = 0,
    kAuth,
    kSelect,
    kSetName,
    kClientId,
    kInfo,
    kRole,
    kKill,
    kTracking,
    kScriptLoad,
    kSubscribe,
    kPing,
};

struct Pending {
    Step step = Step::kCommand;
    uint64_t tag = 0;         // the owner's, for kCommand
    int64_t sent_us = 0;      // when it was queued
    int64_t deadline_us = 0;  // when the connection is given up
};

enum class Connect : uint8_t { kClosed, kConnecting, kOpen };
// kLast: bytes, and no more were there.
enum class Received : uint8_t { kBytes, kLast, kNothing, kEnd };

class Connection {
  public:
    explicit Connection(size_t max_reply_bytes) : reader_(max_reply_bytes) {}
    ~Connection() { Close(); }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    // Begins a connection; false, and says why, when it failed at once.
    bool Open(const Endpoint &endpoint, Trouble &trouble);
    // The socket became writable while connecting; false, and says why, when it failed.
    bool FinishConnect(Trouble &trouble);
    void Close();

    int fd() const { return fd_; }
    Connect state() const { return state_; }
    bool wants_write() const;

    // Queues a command and remembers who waits for its reply. argv are raw bytes.
    void Queue(const Pending &pending, const std::vector<std::string_view> &argv);
    void Write();

    // Reads once, a bounded amount. kEnd: the peer closed, or the socket failed; says which.
    Received Read(Trouble &trouble);
    ReplyOwner Take(Trouble &trouble) { return reader_.Take(trouble); }

    std::deque<Pending> &pending() { return pending_; }
    const std::deque<Pending> &pending() const { return pending_; }

  private:
    void ForgetOutput();

    int fd_ = -1;
    Connect state_ = Connect::kClosed;
    bool write_failed_ = false;
    std::string output_;  // may hold a password: wiped, not only cleared
    size_t written_ = 0;  // bytes of output_ that the socket has taken
    std::deque<Pending> pending_;
    ReplyReader reader_;
};

}  // namespace inventory_lock::redis
