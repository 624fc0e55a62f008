// What administrators do to keys: look who has one, and free it by force.
//
// Runs in: backends. Neither takes the gate; both ask Redis through the worker. Without Redis
// there is nothing to ask: kUnavailable.

#pragma once

#include "locking/locks.hpp"

namespace inventory_lock::locking {

enum class KeyAnswer : uint8 { kThere, kAbsent, kUnavailable };

// Deletes the key in Redis, whoever has it. A transaction of this server that holds it is told in
// `holder_pid` (0 = none) and can no longer commit.
KeyAnswer ForceRelease(const std::string &key, int32 *holder_pid);

// Asks Redis for the key's token (its printable beginning).
KeyAnswer InspectKey(const std::string &key, std::string *token);

// The highest fence given out for the key, as far as this server and Redis know; 0 = unknown.
uint64 HighestFence(const std::string &key);

}  // namespace inventory_lock::locking
