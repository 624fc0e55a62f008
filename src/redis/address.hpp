// Where Redis is: the parser of inventory_lock.redis_url.
//
// Runs in: every process (a setting's check hook parses, the worker connects); pure C++.
// Accepted: redis://[user@]host[:port][/db] and unix:///path[?db=n][&user=u]. IPv6 hosts stand in
// brackets. Percent-escapes are decoded in user, path and host. Refused with a hint: a password in
// the URL (it belongs into redis_password_file), rediss:// and the topologies that are not built,
// unknown query parameters, control characters, ports outside 1..65535, databases outside
// 0..65535, URLs longer than kMaxUrlBytes.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace inventory_lock::redis {

inline constexpr size_t kMaxUrlBytes = 1024;
inline constexpr uint16_t kDefaultPort = 6379;

enum class Transport : uint8_t { kTcp, kUnix };

struct Address {
    Transport transport = Transport::kTcp;
    std::string host;  // TCP: name or literal address
    uint16_t port = kDefaultPort;
    std::string path;  // Unix: the socket's absolute path
    std::string user;  // "" = the default user
    uint32_t database = 0;

    // For views and log lines: "host:port/db" or "unix:path?db=n"; never a secret.
    std::string Text() const;
};

struct AddressProblem {
    std::string message;           // full sentence for GUC_check_errdetail
    std::string hint;              // full sentence, may be empty
    bool feature_missing = false;  // true: well-formed, but a scheme this build does not have
};

// Parses a URL that is not empty. Never throws anything but std::bad_alloc.
std::variant<Address, AddressProblem> ParseAddress(std::string_view url);

}  // namespace inventory_lock::redis
