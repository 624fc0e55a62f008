// Taking a lock away from a transaction of this server, politely: it is cancelled, and everybody
// is told who it was.
//
// Runs in: backends, on behalf of an administrator.

#pragma once

#include "pg/boundary.hpp"

namespace inventory_lock::api {

enum class Farewell : uint8 {
    kGone,   // it ended, and with it its hold
    kNever,  // it did not hold the key any more: nothing was done to it
    kStays,  // cancelled in vain: idle in its transaction, or busy with something that cannot stop
};

// Cancels the process that holds `key`, if it still does, and waits, half a second at most, until
// it does not any more. Says so in a NOTICE. Needs the right to cancel it (42501).
Farewell CancelHolder(const std::string &key, int32 pid);

// Is there shared memory, and a Redis configured?
bool RedisInUse();

// IL012: it cannot be asked, or there is none.
[[noreturn]] void ThrowRedisUnavailable();

}  // namespace inventory_lock::api
