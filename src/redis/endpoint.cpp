// Resolving and connecting; see endpoint.hpp. Runs in: the worker; pure C++.

#include "redis/endpoint.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

// A peer that has vanished without a word is noticed after 15 + 3 × 5 seconds at rest.
constexpr int kKeepIdle_s = 15;
constexpr int kKeepInterval_s = 5;
constexpr int kKeepProbes = 3;

struct AddrinfoDeleter {
    void operator()(addrinfo *list) const noexcept { freeaddrinfo(list); }
};

std::vector<Endpoint> ResolveUnix(const Address &address, Trouble &trouble);
void Tune(int fd);

}  // namespace

bool Endpoint::operator==(const Endpoint &other) const {
    return length == other.length && std::memcmp(&storage, &other.storage, length) == 0;
}

std::vector<Endpoint> Resolve(const Address &address, Trouble &trouble) {
    switch (address.transport) {
        case Transport::kUnix:
            return ResolveUnix(address, trouble);
        case Transport::kTcp:
            return Resolve(address.server, trouble);
        case Transport::kSentinel:
            break;
    }
    return {};
}

std::vector<Endpoint> Resolve(const HostPort &server, Trouble &trouble) {
    addrinfo hints = {};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo *list = nullptr;
    const int code =
        getaddrinfo(server.host.c_str(), std::to_string(server.port).c_str(), &hints, &list);
    if (code != 0) {
        trouble = {
            TroubleKind::kUnreachable,
            Printable(std::string("the host name cannot be resolved: ") + gai_strerror(code))};
        return {};
    }
    const std::unique_ptr<addrinfo, AddrinfoDeleter> owner(list);
    std::vector<Endpoint> endpoints;
    for (const addrinfo *item = list; item != nullptr; item = item->ai_next) {
        if (item->ai_addrlen <= sizeof(sockaddr_storage)) {
            Endpoint endpoint;
            std::memcpy(&endpoint.storage, item->ai_addr, item->ai_addrlen);
            endpoint.length = item->ai_addrlen;
            endpoints.push_back(endpoint);
        }
    }
    return endpoints;
}

int BeginConnect(const Endpoint &endpoint, bool &connected, Trouble &trouble) {
    connected = false;
    const int family = endpoint.storage.ss_family;
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        trouble = TroubleOfErrno(errno);
        return -1;
    }
    if (family != AF_UNIX) {
        Tune(fd);
    }
    const auto *address = reinterpret_cast<const sockaddr *>(&endpoint.storage);
    if (connect(fd, address, endpoint.length) == 0) {
        connected = true;
    } else if (errno != EINPROGRESS && errno != EINTR) {
        trouble = TroubleOfErrno(errno);
        close(fd);
        return -1;
    }
    return fd;
}

int ConnectResult(int fd, Trouble &trouble) {
    int error_number = 0;
    socklen_t length = sizeof(error_number);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &length) != 0) {
        error_number = errno;
    }
    if (error_number != 0) {
        trouble = TroubleOfErrno(error_number);
        return -1;
    }
    sockaddr_storage peer = {};
    length = sizeof(peer);
    if (getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &length) != 0) {
        return 0;
    }
    return 1;
}

Trouble TroubleOfErrno(int error_number) {
    TroubleKind kind = TroubleKind::kClosed;
    switch (error_number) {
        case ECONNREFUSED:
        case ENOENT:
        case ENOTSOCK:
        case EACCES:
        case EPERM:
        case EAGAIN:  // a Unix socket whose queue is full
            kind = TroubleKind::kRefused;
            break;
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case EHOSTDOWN:
        case ENETUNREACH:
        case ENETDOWN:
        case EADDRNOTAVAIL:
        case EAFNOSUPPORT:
            kind = TroubleKind::kUnreachable;
            break;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            kind = TroubleKind::kOther;
            break;
        default:
            break;
    }
    return {kind, Printable(std::generic_category().message(error_number))};
}

namespace {

std::vector<Endpoint> ResolveUnix(const Address &address, Trouble &trouble) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    if (address.path.empty() || address.path.size() >= sizeof(name.sun_path)) {
        trouble = {TroubleKind::kRefused, "the path of the socket is empty or too long"};
        return {};
    }
    std::memcpy(name.sun_path, address.path.data(), address.path.size());
    Endpoint endpoint;
    std::memcpy(&endpoint.storage, &name, sizeof(name));
    endpoint.length = sizeof(name);
    return {endpoint};
}

// None of these is worth failing for.
void Tune(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepIdle_s, sizeof(kKeepIdle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepInterval_s, sizeof(kKeepInterval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kKeepProbes, sizeof(kKeepProbes));
}

}  // namespace

}  // namespace inventory_lock::redis
