// What can go wrong with a Redis server, sorted by what a user can do about it.
//
// Runs in: the worker; pure C++, no PostgreSQL header.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace inventory_lock::redis {

// The kinds are stable numbers: they are kept in shared memory and counted in statistics.
enum class TroubleKind : uint8_t {
    kNone = 0,
    kRefused,      // nobody listens, or the socket file is missing
    kUnreachable,  // no route, or the connect timed out
    kTimeout,      // connected, but a command was not answered in time
    kClosed,       // the peer closed the connection
    kProtocol,     // bytes that are not RESP, too many of them, or a reply nobody asked for
    kAuth,         // NOAUTH, WRONGPASS, or AUTH refused
    kPermission,   // NOPERM: the ACL user lacks a command, key or channel
    kLoading,      // LOADING: the data set is being read
    kReadOnly,     // READONLY: a replica
    kOutOfMemory,  // OOM: maxmemory reached
    kMisconf,      // MISCONF, NOREPLICAS: Redis takes no writes
    kBusy,         // BUSY: a script runs for too long
    kMoved,        // MOVED, ASK, CLUSTERDOWN, CROSSSLOT: this is a cluster node
    kOther,        // any other error reply
};

struct Trouble {
    TroubleKind kind = TroubleKind::kNone;
    std::string text;  // what happened, for a log line; printable, bounded, no secrets
};

// Short lower-case name ("refused", "loading"), for statistics and key=value log tails.
const char *TroubleName(TroubleKind kind) noexcept;

// A full sentence that says what an administrator can do; "" when there is nothing to say.
const char *TroubleHint(TroubleKind kind) noexcept;

// Sorts the text of an error reply ("NOAUTH Authentication required.") into a kind.
TroubleKind ClassifyErrorReply(std::string_view text) noexcept;

// The trouble an error reply tells of: its kind and its text made fit for a log line.
Trouble TroubleOfReply(std::string_view text);

// Bytes of a peer as printable ASCII: everything else becomes '?', at most kMaxTroubleBytes.
inline constexpr size_t kMaxTroubleBytes = 200;
std::string Printable(std::string_view bytes);

}  // namespace inventory_lock::redis
