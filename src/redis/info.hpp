// Fields of an INFO reply.
//
// Runs in: the worker; pure C++. INFO is text, one "name:value" per line, sections headed by "#".
// What a peer sends is not trusted: a field that is missing or not printable reads as "".

#pragma once

#include <string>
#include <string_view>

namespace inventory_lock::redis {

// The value of a field, "" when there is none. A view into `info`.
std::string_view InfoField(std::string_view info, std::string_view name);

// The maxmemory_policy of an INFO or INFO memory reply; anything but "noeviction" lets Redis
// discard locks. "" when it is not there.
std::string MaxmemoryPolicy(std::string_view info);

}  // namespace inventory_lock::redis
