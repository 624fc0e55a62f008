// Where Redis is: the parser of inventory_lock.redis_url.
//
// Runs in: every process (a setting's check hook parses, the worker connects); pure C++.
// Accepted: redis://[user@]host[:port][/db], unix:///path[?db=n][&user=u] and
// redis+sentinel://[user@]host[:port][,host[:port]…]/primary[/db]. IPv6 hosts stand in brackets.
// Percent-escapes are decoded in names, path and host. Refused with a hint: a password in the URL
// (it belongs into redis_password_file), rediss:// and the topologies that are not built, unknown
// query parameters, control characters, ports outside 1..65535, databases outside 0..65535, more
// than kMaxSentinels, URLs longer than kMaxUrlBytes.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace inventory_lock::redis {

inline constexpr size_t kMaxUrlBytes = 1024;
inline constexpr uint16_t kDefaultPort = 6379;
inline constexpr uint16_t kDefaultSentinelPort = 26379;
inline constexpr size_t kMaxSentinels = 16;

// kSentinel: a server whose host and port Redis Sentinel tells.
enum class Transport : uint8_t { kTcp, kUnix, kSentinel };

struct HostPort {
    std::string host;  // name or literal address
    uint16_t port = kDefaultPort;

    // "host:port", "[v6]:port".
    std::string Text() const;
};

struct Address {
    Transport transport = Transport::kTcp;
    HostPort server;                  // TCP
    std::string path;                 // Unix: the socket's absolute path
    std::vector<HostPort> sentinels;  // Sentinel: whom to ask, one after the other
    std::string primary;              // Sentinel: the name that they know the server under
    std::string user;                 // "" = the default user
    uint32_t database = 0;

    // For views and log lines: "host:port/db", "unix:path?db=n" or
    // "sentinel:host:port,host:port/primary/db"; never a secret.
    std::string Text() const;
};

struct AddressProblem {
    std::string message;           // full sentence for GUC_check_errdetail
    std::string hint;              // full sentence, may be empty
    bool feature_missing = false;  // true: well-formed, but a scheme this build does not have
};

// Parses a URL that is not empty; one that Sentinel is to be asked for only if `sentinel`. Never
// throws anything but std::bad_alloc.
std::variant<Address, AddressProblem> ParseAddress(std::string_view url, bool sentinel = true);

}  // namespace inventory_lock::redis
