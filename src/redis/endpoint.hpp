// Socket addresses of a Redis server, and a non-blocking socket to one of them.
//
// Runs in: the worker; pure C++. Resolving a name blocks: node.hpp says when it is done.

#pragma once

#include <sys/socket.h>

#include <vector>

#include "redis/address.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::redis {

struct Endpoint {
    sockaddr_storage storage = {};
    socklen_t length = 0;

    bool operator==(const Endpoint &other) const;
};

// Every socket address behind `server` or `address`, in the resolver's order; empty, and says why,
// on failure. Of an address that only Sentinel knows: empty.
std::vector<Endpoint> Resolve(const HostPort &server, Trouble &trouble);
std::vector<Endpoint> Resolve(const Address &address, Trouble &trouble);

// Opens a socket and begins to connect it. Returns the descriptor (non-blocking, close-on-exec), or
// -1 and says why. `connected` tells whether the connection stands already.
int BeginConnect(const Endpoint &endpoint, bool &connected, Trouble &trouble);

// Whether a socket that became writable is connected. -1 = failed, and says why; 0 = not yet; 1 =
// yes.
int ConnectResult(int fd, Trouble &trouble);

// What an errno of connect(), recv() or send() means.
Trouble TroubleOfErrno(int error_number);

}  // namespace inventory_lock::redis
