// Parser of inventory_lock.redis_url; see address.hpp. Runs in: every process; pure C++.
//
// The URL may hold a password although it must not. So no message repeats any of its text, but for
// the name of a query parameter that is made of lower-case letters only.

#include "redis/address.hpp"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr std::string_view kTcpScheme = "redis://";
constexpr std::string_view kUnixScheme = "unix://";
constexpr std::string_view kSentinelScheme = "redis+sentinel://";
constexpr uint32_t kMaxPort = 65535;
constexpr uint32_t kMaxDatabase = 65535;
constexpr size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kMaxHostBytes = 255;
constexpr size_t kMaxPrimaryBytes = 255;
constexpr char kForm[] =
    "Write redis://[user@]host[:port][/database], unix:///path[?db=number][&user=name] or "
    "redis+sentinel://[user@]host[:port][,host[:port]...]/primary[/database].";
constexpr char kPasswordHint[] =
    "Write the password to a file that only the server's owner can read, and name the file in "
    "inventory_lock.redis_password_file.";

struct MissingScheme {
    std::string_view scheme;
    const char *message;
};
constexpr MissingScheme kMissing[] = {
    {"rediss://", "TLS (rediss://) is not available in this build."},
    {"redis+cluster://", "Redis Cluster (redis+cluster://) is not available in this build."},
    {"redis+quorum://", "A quorum of servers (redis+quorum://) is not available in this build."},
};

using Problem = std::optional<AddressProblem>;

bool StartsWith(std::string_view text, std::string_view prefix);
bool IsControl(char c);
bool IsLiteralV6(std::string_view host);
std::optional<uint32_t> Number(std::string_view digits, uint32_t min, uint32_t max);
Problem Decode(std::string_view escaped, std::string &decoded);
Problem ParseTcp(std::string_view rest, Address &address);
Problem ParseSentinel(std::string_view rest, Address &address);
Problem TakeUser(std::string_view &authority, Address &address);
Problem ParseHostPort(std::string_view text, HostPort &server);
Problem ParseUnix(std::string_view rest, Address &address);
Problem ParseParameter(std::string_view parameter, Address &address);
Problem SetDatabase(std::string_view digits, Address &address);
AddressProblem Wrong(const char *message, const char *hint = kForm);
void AppendEscaped(std::string &text, std::string_view bytes);

}  // namespace

std::variant<Address, AddressProblem> ParseAddress(std::string_view url, bool sentinel) {
    if (url.size() > kMaxUrlBytes) {
        return Wrong("The URL is too long.", "At most 1024 bytes are accepted.");
    }
    if (std::any_of(url.begin(), url.end(), [](char c) { return IsControl(c) || c == ' '; })) {
        return Wrong("The URL contains a space or a control character.",
                     "Write it as a percent-escape where it belongs to a name.");
    }
    for (const MissingScheme &missing : kMissing) {
        if (StartsWith(url, missing.scheme)) {
            return AddressProblem{missing.message, "Use redis://, redis+sentinel:// or unix://.",
                                  true};
        }
    }
    Address address;
    Problem problem;
    if (StartsWith(url, kTcpScheme)) {
        problem = ParseTcp(url.substr(kTcpScheme.size()), address);
    } else if (StartsWith(url, kUnixScheme)) {
        problem = ParseUnix(url.substr(kUnixScheme.size()), address);
    } else if (StartsWith(url, kSentinelScheme) && !sentinel) {
        problem = Wrong("Sentinel names the primary, and a replica is wanted here.",
                        "Name the replica's own address.");
    } else if (StartsWith(url, kSentinelScheme)) {
        problem = ParseSentinel(url.substr(kSentinelScheme.size()), address);
    } else {
        problem = Wrong("The URL begins with no known scheme.");
    }
    if (problem) {
        return *std::move(problem);
    }
    return address;
}

std::string HostPort::Text() const {
    const bool v6 = IsLiteralV6(host);
    std::string text(v6 ? "[" : "");
    AppendEscaped(text, host);
    return text.append(v6 ? "]:" : ":").append(std::to_string(port));
}

std::string Address::Text() const {
    std::string text;
    switch (transport) {
        case Transport::kUnix:
            text = "unix:";
            AppendEscaped(text, path);
            return text.append("?db=").append(std::to_string(database));
        case Transport::kTcp:
            text = server.Text();
            break;
        case Transport::kSentinel:
            for (const HostPort &sentinel : sentinels) {
                text.append(text.empty() ? "sentinel:" : ",").append(sentinel.Text());
            }
            AppendEscaped(text.append("/"), primary);
            break;
    }
    return text.append("/").append(std::to_string(database));
}

namespace {

Problem ParseTcp(std::string_view rest, Address &address) {
    address.transport = Transport::kTcp;
    if (rest.find_first_of("?#") != std::string_view::npos) {
        return Wrong("A redis:// URL takes no parameters and no fragment.");
    }
    const size_t slash = rest.find('/');
    std::string_view authority = rest.substr(0, slash);
    if (slash != std::string_view::npos && slash + 1 < rest.size()) {
        if (Problem problem = SetDatabase(rest.substr(slash + 1), address)) {
            return problem;
        }
    }
    if (Problem problem = TakeUser(authority, address)) {
        return problem;
    }
    return ParseHostPort(authority, address.server);
}

Problem ParseSentinel(std::string_view rest, Address &address) {
    address.transport = Transport::kSentinel;
    if (rest.find_first_of("?#") != std::string_view::npos) {
        return Wrong("A redis+sentinel:// URL takes no parameters and no fragment.");
    }
    const size_t slash = rest.find('/');
    if (slash == std::string_view::npos || slash + 1 == rest.size()) {
        return Wrong("The name of the primary is missing.");
    }
    const std::string_view path = rest.substr(slash + 1);
    const size_t second = path.find('/');
    if (Problem problem = Decode(path.substr(0, second), address.primary)) {
        return problem;
    }
    if (address.primary.empty() || address.primary.size() > kMaxPrimaryBytes) {
        return Wrong("The name of the primary must have 1 to 255 bytes.");
    }
    if (second != std::string_view::npos && second + 1 < path.size()) {
        if (Problem problem = SetDatabase(path.substr(second + 1), address)) {
            return problem;
        }
    }
    std::string_view authority = rest.substr(0, slash);
    if (Problem problem = TakeUser(authority, address)) {
        return problem;
    }
    while (true) {
        const size_t comma = authority.find(',');
        HostPort sentinel;
        sentinel.port = kDefaultSentinelPort;
        if (Problem problem = ParseHostPort(authority.substr(0, comma), sentinel)) {
            return problem;
        }
        if (address.sentinels.size() == kMaxSentinels) {
            return Wrong("The URL names too many servers.", "At most 16 are accepted.");
        }
        address.sentinels.push_back(std::move(sentinel));
        if (comma == std::string_view::npos) {
            return std::nullopt;
        }
        authority.remove_prefix(comma + 1);
    }
}

// Takes "user@" off the front, if it is there.
Problem TakeUser(std::string_view &authority, Address &address) {
    const size_t at = authority.rfind('@');
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view user = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    if (user.find(':') != std::string_view::npos) {
        return Wrong("The URL contains a password.", kPasswordHint);
    }
    if (user.empty()) {
        return Wrong("The user name before the \"@\" is empty.");
    }
    return Decode(user, address.user);
}

Problem ParseHostPort(std::string_view text, HostPort &server) {
    std::string_view host;
    std::string_view port;
    bool has_port = false;
    const bool bracketed = !text.empty() && text.front() == '[';
    if (bracketed) {
        const size_t close = text.find(']');
        if (close == std::string_view::npos) {
            return Wrong("The bracket around the IPv6 address is not closed.");
        }
        host = text.substr(1, close - 1);
        text.remove_prefix(close + 1);
        if (!text.empty() && text.front() != ':') {
            return Wrong("Only a port may follow the bracketed address.");
        }
        has_port = !text.empty();
        port = has_port ? text.substr(1) : text;
    } else {
        const size_t colon = text.find(':');
        host = text.substr(0, colon);
        has_port = colon != std::string_view::npos;
        port = has_port ? text.substr(colon + 1) : std::string_view();
        if (port.find(':') != std::string_view::npos) {
            return Wrong("The host contains more than one colon.",
                         "Write an IPv6 address in brackets: redis://[::1]:6379/0.");
        }
    }
    if (host.empty()) {
        return Wrong("The host is missing.");
    }
    if (Problem problem = Decode(host, server.host)) {
        return problem;
    }
    if (server.host.size() > kMaxHostBytes) {
        return Wrong("The host name is too long.", "At most 255 bytes are accepted.");
    }
    if (bracketed != IsLiteralV6(server.host)) {
        return bracketed ? Wrong("What stands in brackets is no IPv6 address.")
                         : Wrong("An IPv6 address must stand in brackets.",
                                 "For example redis://[::1]:6379/0.");
    }
    if (server.host.find_first_of(" /@") != std::string::npos) {
        return Wrong("The host name contains a character that no host name has.");
    }
    if (has_port) {
        const std::optional<uint32_t> number = Number(port, 1, kMaxPort);
        if (!number) {
            return Wrong("The port is not a number from 1 to 65535.");
        }
        server.port = static_cast<uint16_t>(*number);
    }
    return std::nullopt;
}

Problem ParseUnix(std::string_view rest, Address &address) {
    address.transport = Transport::kUnix;
    if (rest.find('#') != std::string_view::npos) {
        return Wrong("The URL contains a fragment.", "Write a \"#\" in a name as %23.");
    }
    const size_t question = rest.find('?');
    const std::string_view path = rest.substr(0, question);
    if (path.size() < 2 || path.front() != '/') {
        return Wrong("A unix:// URL needs an absolute path.");
    }
    if (Problem problem = Decode(path, address.path)) {
        return problem;
    }
    if (address.path.size() > kMaxSocketPath) {
        return Wrong("The path of the socket is too long.", "At most 107 bytes are possible.");
    }
    if (question == std::string_view::npos) {
        return std::nullopt;
    }
    std::string_view parameters = rest.substr(question + 1);
    while (true) {
        const size_t end = parameters.find('&');
        if (Problem problem = ParseParameter(parameters.substr(0, end), address)) {
            return problem;
        }
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        parameters.remove_prefix(end + 1);
    }
}

Problem ParseParameter(std::string_view parameter, Address &address) {
    const size_t equals = parameter.find('=');
    const std::string_view name = parameter.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : parameter.substr(equals + 1);
    if (name == "db") {
        return SetDatabase(value, address);
    }
    if (name == "user") {
        address.user.clear();
        if (value.empty()) {
            return Wrong("The parameter \"user\" is empty.");
        }
        return Decode(value, address.user);
    }
    if (name == "password" || name == "pass" || name == "auth") {
        return Wrong("The URL contains a password.", kPasswordHint);
    }
    const bool plain = !name.empty() && name.size() <= 32 &&
                       std::all_of(name.begin(), name.end(),
                                   [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
    AddressProblem problem = Wrong("The URL contains an unknown parameter.",
                                   "The parameters of a unix:// URL are \"db\" and \"user\".");
    if (plain && equals != std::string_view::npos) {
        problem.message =
            std::string("The URL contains the unknown parameter \"").append(name).append("\".");
    }
    return problem;
}

Problem SetDatabase(std::string_view digits, Address &address) {
    const std::optional<uint32_t> number = Number(digits, 0, kMaxDatabase);
    if (!number) {
        return Wrong("The database is not a number from 0 to 65535.");
    }
    address.database = *number;
    return std::nullopt;
}

// Percent-escapes become bytes; an escape that is none, or gives a control character, is refused.
Problem Decode(std::string_view escaped, std::string &decoded) {
    for (size_t i = 0; i < escaped.size(); i++) {
        if (escaped[i] != '%') {
            decoded.push_back(escaped[i]);
            continue;
        }
        unsigned value = 0;
        const char *first = escaped.data() + i + 1;
        if (escaped.size() - i < 3 ||
            std::from_chars(first, first + 2, value, 16).ptr != first + 2) {
            return Wrong("The URL contains a \"%\" without two hexadecimal digits after it.",
                         "Write a \"%\" in a name as %25.");
        }
        const char byte = static_cast<char>(value);
        if (IsControl(byte)) {
            return Wrong("The URL contains an escaped control character.");
        }
        decoded.push_back(byte);
        i += 2;
    }
    return std::nullopt;
}

std::optional<uint32_t> Number(std::string_view digits, uint32_t min, uint32_t max) {
    uint32_t value = 0;
    const char *end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (digits.empty() || error != std::errc() || stop != end || value < min || value > max) {
        return std::nullopt;
    }
    return value;
}

// An IPv6 literal, with or without a zone ("fe80::1%eth0").
bool IsLiteralV6(std::string_view host) {
    in6_addr binary;
    return inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &binary) == 1;
}

bool StartsWith(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

bool IsControl(char c) {
    const unsigned char byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7F;
}

AddressProblem Wrong(const char *message, const char *hint) {
    return AddressProblem{message, hint, false};
}

// Printable ASCII as it is, other bytes as percent-escapes: the text is safe in any encoding.
void AppendEscaped(std::string &text, std::string_view bytes) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    for (const char c : bytes) {
        const unsigned char byte = static_cast<unsigned char>(c);
        if (byte > 0x20 && byte < 0x7F) {
            text.push_back(c);
        } else {
            text.push_back('%');
            text.push_back(kDigits[byte >> 4]);
            text.push_back(kDigits[byte & 15]);
        }
    }
}

}  // namespace

}  // namespace inventory_lock::redis
