// The scripted peer and the delayed road; see support.hpp.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>

#include "support.hpp"

namespace inventory_lock::redis::test {

namespace {

int Listen(uint16_t &port) {
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof(name);
    if (bind(fd, reinterpret_cast<sockaddr *>(&name), length) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, reinterpret_cast<sockaddr *>(&name), &length) != 0) {
        throw std::runtime_error("cannot listen on loopback");
    }
    port = ntohs(name.sin_port);
    return fd;
}

Address Loopback(uint16_t port) {
    Address address;
    address.server.host = "127.0.0.1";
    address.server.port = port;
    return address;
}

void CloseFd(int &fd) {
    if (fd >= 0) {
        close(fd);
    }
    fd = -1;
}

// False when the other side has closed.
bool ReadInto(int fd, std::string &input) {
    char bytes[65536];
    const ssize_t count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) {
        input.append(bytes, static_cast<size_t>(count));
    }
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

void WriteFrom(int fd, std::string &output) {
    const ssize_t count = send(fd, output.data(), output.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
        output.erase(0, static_cast<size_t>(count));
    }
}

// Takes "*2\r\n$3\r\nGET\r\n…" off the front; empty when it is not complete.
Peer::Argv TakeCommand(std::string &input) {
    size_t at = 0;
    auto number = [&](char type, long &value) {
        const size_t end = input.find("\r\n", at);
        if (end == std::string::npos || input[at] != type) {
            return false;
        }
        std::from_chars(input.data() + at + 1, input.data() + end, value);
        at = end + 2;
        return true;
    };
    long count = 0;
    if (input.empty() || !number('*', count)) {
        return {};
    }
    Peer::Argv argv;
    for (long i = 0; i < count; i++) {
        long length = 0;
        if (at >= input.size() || !number('$', length) ||
            input.size() < at + static_cast<size_t>(length) + 2) {
            return {};
        }
        argv.push_back(input.substr(at, static_cast<size_t>(length)));
        at += static_cast<size_t>(length) + 2;
    }
    input.erase(0, at);
    return argv;
}

std::string Bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

}  // namespace

Peer::Peer() : listener_(Listen(port_)) {}

Peer::~Peer() {
    CloseFd(listener_);
    for (auto &link : links_) {
        CloseFd(link->fd);
    }
}

Address Peer::address() const {
    return Loopback(port_);
}

void Peer::Say(int link, std::string_view bytes) {
    links_.at(static_cast<size_t>(link))->output.append(bytes);
}

void Peer::AddSockets(std::vector<pollfd> &sockets) const {
    if (accepting) {
        sockets.push_back({listener_, POLLIN, 0});
    }
    for (const auto &link : links_) {
        if (link->fd >= 0) {
            sockets.push_back(
                {link->fd, static_cast<short>(POLLIN | (link->output.empty() ? 0 : POLLOUT)), 0});
        }
    }
}

void Peer::OnEvents(const pollfd &event) {
    if (event.fd == listener_) {
        const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            links_.push_back(std::make_unique<Link>());
            links_.back()->fd = fd;
            links_.back()->number = accepted_++;
        }
        return;
    }
    for (auto &link : links_) {
        if (link->fd != event.fd) {
            continue;
        }
        if ((event.revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
            !ReadInto(link->fd, link->input)) {
            CloseFd(link->fd);
            return;
        }
        for (Argv argv = TakeCommand(link->input); !argv.empty(); argv = TakeCommand(link->input)) {
            seen.push_back(argv);
            if (!answer || !answer(*link, argv)) {
                Honest(*link, argv);
            }
        }
        WriteFrom(link->fd, link->output);
        if (link->close_after_output && link->output.empty()) {
            CloseFd(link->fd);
        }
        return;
    }
}

void Peer::Honest(Link &link, const Argv &argv) {
    const std::string word = argv[0] + (argv.size() > 1 ? " " + argv[1] : "");
    if (word == "CLIENT ID") {
        link.output += ":" + std::to_string(link.number + 1) + "\r\n";
    } else if (word == "CLIENT KILL") {
        link.output += ":0\r\n";
    } else if (argv[0] == "INFO") {
        link.output += Bulk("# Server\r\nrun_id:0123456789abcdef0123456789abcdef01234567\r\n");
    } else if (word == "SCRIPT LOAD") {
        link.output += Bulk(std::string(40, 'a'));
    } else if (argv[0] == "SUBSCRIBE") {
        link.subscribed = true;
        link.output += "*3\r\n" + Bulk("subscribe") + Bulk(argv[1]) + ":1\r\n";
    } else if (argv[0] == "PING") {
        link.output += link.subscribed ? "*2\r\n" + Bulk("pong") + Bulk("") : "+PONG\r\n";
    } else {
        link.output += "+OK\r\n";
    }
}

DelayedRoad::DelayedRoad(const Server &server)
    : server_path_(server.socket_path()), listener_(Listen(port_)) {}

DelayedRoad::~DelayedRoad() {
    CloseFd(listener_);
    for (auto &way : ways_) {
        CloseFd(way->client);
        CloseFd(way->server);
    }
}

Address DelayedRoad::address() const {
    return Loopback(port_);
}

bool DelayedRoad::ServerClosed(int link) const {
    return ways_.at(static_cast<size_t>(link))->server_closed;
}

size_t DelayedRoad::HeldBytes(int link) const {
    return ways_.at(static_cast<size_t>(link))->to_server.size();
}

std::string DelayedRoad::Received(int link) const {
    return ways_.at(static_cast<size_t>(link))->received;
}

void DelayedRoad::AddSockets(std::vector<pollfd> &sockets) const {
    sockets.push_back({listener_, POLLIN, 0});
    for (size_t i = 0; i < ways_.size(); i++) {
        const Way &way = *ways_[i];
        const bool held = held_ == static_cast<int>(i);
        if (way.client >= 0) {
            sockets.push_back({way.client,
                               static_cast<short>(POLLIN | (way.to_client.empty() ? 0 : POLLOUT)),
                               0});
        }
        if (way.server >= 0) {
            const bool push = !held && !way.to_server.empty();
            sockets.push_back({way.server, static_cast<short>(POLLIN | (push ? POLLOUT : 0)), 0});
        }
    }
}

void DelayedRoad::OnEvents(const pollfd &event) {
    if (event.fd == listener_) {
        auto way = std::make_unique<Way>();
        way->client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        sockaddr_un name = {};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, server_path_.data(), server_path_.size());
        way->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(way->server, reinterpret_cast<sockaddr *>(&name), sizeof(name)) != 0) {
            throw std::runtime_error("the road cannot reach the server");
        }
        ways_.push_back(std::move(way));
        return;
    }
    for (size_t i = 0; i < ways_.size(); i++) {
        Way &way = *ways_[i];
        const bool held = held_ == static_cast<int>(i);
        if (event.fd == way.client) {
            if (!ReadInto(way.client, way.to_server)) {
                CloseFd(way.client);
            }
        } else if (event.fd == way.server) {
            const size_t before = way.to_client.size();
            if (!ReadInto(way.server, way.to_client)) {
                way.server_closed = true;
                CloseFd(way.server);
                CloseFd(way.client);
            }
            way.received += way.to_client.substr(std::min(before, way.to_client.size()));
        } else {
            continue;
        }
        if (way.server >= 0 && !held) {
            WriteFrom(way.server, way.to_server);
        }
        if (way.client >= 0) {
            WriteFrom(way.client, way.to_client);
        }
        if (way.client < 0 && way.to_server.empty() && !held) {
            // All that the client has said is with the server; its answers find nobody.
            way.to_client.clear();
        }
        return;
    }
}

}  // namespace inventory_lock::redis::test
