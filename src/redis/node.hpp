// One Redis server and the lanes to it.
//
// Runs in: the worker; pure C++, one thread. Only the resolver of host names may block: in the
// constructor, when the owner asks for it (at a reload), and in Step() while no lane is Ready, a
// second after the last one died and then less and less often, as the name may be another address's
// by now. The owner's event loop asks for the sockets, waits, and calls OnSocket() and Step().
//
// Of an address that Redis Sentinel knows, the host is what Sentinel names at the time
// (primary_finder.hpp). When that changes, lanes to the earlier primary are dropped, whether they
// stand or not.
//
// A lane is a data connection and, beside it, a subscriber connection that receives the data
// connection's invalidations (CLIENT TRACKING … REDIRECT, RESP2) and our recall channel. The two
// live and die together. Commands on a lane are pipelined and answered in order; each carries a
// tag of the caller's. When a lane dies, everything unanswered on it is *unknown*, and the lane
// that replaces it comes up only after CLIENT KILL ID of the old data connection has been answered
// (lease-protocol rule 5), so that nothing sent before can be executed after. Where the server
// denies CLIENT KILL, barrier() is false and acquires must carry a not_after.
//
// States of a lane: Down → Connecting → Handshake (AUTH, SELECT, CLIENT ID, INFO server, SUBSCRIBE
// on the subscriber; then CLIENT KILL of the predecessor, CLIENT TRACKING, SCRIPT LOAD, PING) →
// Ready → Down. After a failure the next attempt waits for a back-off that doubles from 50 ms to 2
// s, with jitter. A client id is remembered together with the server's run_id: after a restart of
// Redis the predecessor is dead anyway, and its number may be somebody else's.
//
// A peer that sends garbage, too much, an unsolicited reply, nothing, or half a reply and then
// closes, costs that lane and nothing else.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "redis/address.hpp"
#include "redis/reply.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::redis {

struct NodeOptions {
    Address address;
    std::string password;  // "" = none; wiped from memory on destruction
    int lanes = 2;         // 1..16
    int64_t connect_timeout_us = 500000;
    int64_t command_timeout_us = 500000;
    size_t max_reply_bytes = 1 << 20;  // input buffered on one connection before it is given up
    std::string client_name;           // CLIENT SETNAME is not used when ""
    std::string recall_channel;        // subscribed to beside __redis__:invalidate; "" = none
    std::vector<std::string> scripts;  // Lua texts to SCRIPT LOAD in every handshake
    // client_ids_to_kill() of an earlier worker: one per lane, 0 = none. A list of another length
    // (the number of lanes has changed) is killed as a whole by every lane.
    std::vector<int64_t> old_client_ids;
    // run_id() of the server those ids are from. A restarted server counts client ids from 1 again,
    // and the old number may be somebody else's by now; "" = not known, they are killed anyway.
    std::string old_run_id;
};

enum class LaneState : uint8_t { kDown = 0, kConnecting, kHandshake, kReady };

struct LaneStatus {
    LaneState state = LaneState::kDown;
    int64_t client_id = 0;  // of the data connection, once known; 0 when Down
    int64_t since_us = 0;   // when the state was entered (the caller's clock)
    int64_t rtt_us = -1;    // smoothed round trip of commands, -1 before the first
    Trouble last_trouble;
    uint32_t outstanding = 0;  // commands sent and not answered
    bool barrier = true;       // false: CLIENT KILL is denied
    bool tracking = true;      // false: the server refuses CLIENT TRACKING; polling remains
};

// What the owner hears. Called from Step() and OnSocket() only; may call Send().
class NodeEvents {
  public:
    virtual ~NodeEvents() = default;
    virtual void OnLaneReady(int lane) = 0;
    // Every unanswered tag of the lane is forgotten; its effect is unknown. Comes also after an
    // attempt to come up that failed.
    virtual void OnLaneDown(int lane, const Trouble &trouble) = 0;
    virtual void OnReply(int lane, uint64_t tag, ReplyView reply) = 0;
    virtual void OnInvalidated(int lane, std::string_view key) = 0;
    virtual void OnAllInvalidated(int lane) = 0;
    virtual void OnRecall(int lane, std::string_view payload) = 0;  // comes once per lane
    // Sentinel has named the primary, or another one; or nobody of the list could.
    virtual void OnPrimary() {}
    virtual void OnNoSentinel(const Trouble &) {}
};

// A socket to wait for.
struct Socket {
    int fd;
    bool writable;  // wait for writability too; readability always
};

class Node {
  public:
    // Resolves the host name (may block, bounded by the resolver). Sockets open in Step().
    Node(NodeOptions options, NodeEvents &events);
    ~Node();
    Node(const Node &) = delete;
    Node &operator=(const Node &) = delete;

    // Resolves the host name again; keeps what is known when that fails. Lanes to addresses that it
    // has no longer are dropped. Nothing where Sentinel is asked.
    void ResolveAgain(int64_t now_us);

    // Queues one command. False, and nothing happens, unless the lane is Ready. argv are raw bytes.
    // The command's own deadline is now + command_timeout.
    bool Send(int lane, uint64_t tag, const std::vector<std::string_view> &argv, int64_t now_us);

    // Opens, times out and backs off; PINGs an idle subscriber. Returns when to call again.
    int64_t Step(int64_t now_us);

    // Writes what is queued, as far as the sockets take it. Call once per turn of the loop.
    void Flush(int64_t now_us);

    // False, and nothing happens, when the socket is none of its own.
    bool OnSocket(int fd, bool readable, bool writable, int64_t now_us);

    std::vector<Socket> Sockets() const;
    // Changes whenever a socket was opened or closed: the owner rebuilds its wait set then.
    uint64_t socket_generation() const;

    // Whether the server refuses what is asked of it, so that Sentinel may know a better one.
    void NoteRefusal(bool refuses);

    // Closes the lane now (the owner saw a reply that makes no sense). May be called from an event;
    // OnLaneDown follows when control is back in OnSocket(), or in the next Step().
    void Drop(int lane, const Trouble &trouble, int64_t now_us);

    int lanes() const;
    LaneState state(int lane) const;  // Down when there is no such lane
    LaneStatus status(int lane) const;
    uint64_t commands_sent() const;  // data commands, handshake excluded
    // The server, for views and log lines: as the address says, or as Sentinel has named it.
    const std::string &where() const;
    // False: the host name could not be resolved so far.
    bool resolved() const;
    // What a successor of this Node has to name in NodeOptions::old_client_ids: the data
    // connections that commands may have been sent on and that are not known to be gone. To be
    // stored when a lane becomes Ready, before anything is sent on it.
    std::vector<int64_t> client_ids_to_kill() const;
    // Identity of the server process last talked to, "" before the first handshake or when INFO is
    // denied. Stored beside those ids, for NodeOptions::old_run_id.
    const std::string &run_id() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace inventory_lock::redis
