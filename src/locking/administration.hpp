// What administrators do to keys: look who has one, and free it by force.
//
// Runs in: backends. Neither takes the gate; both ask Redis through the worker. Without Redis
// there is nothing to ask: kUnavailable.

#pragma once

#include "locking/locks.hpp"

namespace inventory_lock::locking {

enum class KeyAnswer : uint8 { kThere, kAbsent, kUnavailable };

// Deletes the key in Redis, whoever has it. A transaction of this server that holds it can no
// longer commit.
KeyAnswer ForceRelease(const std::string &key);

// Process id of the transaction of this server that holds the key now, 0 = none.
int32 HolderOf(const std::string &key);

// Do transactions of this server share the key: a product's, while they change variants of it?
bool IsShared(const std::string &key);

// Asks Redis for the key's token (its printable beginning).
KeyAnswer InspectKey(const std::string &key, std::string *token);

// Deletes every key in Redis that begins with `prefix`, which has no character that SCAN's MATCH
// takes for a pattern. nullopt: Redis does not answer, or refuses (the user needs SCAN). A
// transaction of this server that holds one can no longer commit.
std::optional<uint64> DeleteKeysOf(const std::string &prefix);

// Transactions of this server that hold a key beginning with `prefix`, this one excepted.
struct Holder {
    std::string key;
    int32 pid;
};
std::vector<Holder> HoldersOf(const std::string &prefix);

// A lock of another cluster or service, as the server of redis_replica_url knows it.
struct ForeignLock {
    std::string key;
    LockKind kind;
    std::string token;            // its printable beginning; "" = the key is no lock of this kind
    std::optional<int64> ttl_ms;  // left; nothing: it never expires
};

// Has that server list the locks of others. nullopt: it does not answer, or none is configured.
// `more`: there were too many to be listed.
std::optional<std::vector<ForeignLock>> ListForeignLocks(bool *more);

// The highest fence given out for the key, as far as this server and Redis know; 0 = unknown.
uint64 HighestFence(const std::string &key);

}  // namespace inventory_lock::locking
