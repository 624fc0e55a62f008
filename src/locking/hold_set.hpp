// What this transaction holds.
//
// Runs in: one backend, private memory. A hold is written here *before* the transaction counts
// itself in the lease entry's interest, so that no failure in between can lose the count; nothing
// between the two may raise. A hold belongs to the outermost subtransaction that took it: a
// subtransaction's commit passes it to the parent, its abort lets go of it. The array lives in
// TopMemoryContext and only grows, so that the end of a transaction allocates nothing.

#pragma once

#include "locking/locks.hpp"

namespace inventory_lock::locking {

inline constexpr size_t kHoldKeyBytes = 256;

struct Hold {
    uint64 hash;
    int32 entry;        // lease entry joined; -1 = none (no shared memory, or not joined yet)
    int32 level;        // nest level of the owning subtransaction
    uint64 generation;  // of the lease when it became ours
    uint64 fence;
    int64 since_us;  // CLOCK_BOOTTIME when it was got; 0 = still waiting
    int64 ttl_ms;
    LockKind kind;
    LockMode mode;
    bool leased;     // excluded through Redis
    bool doomed;     // its lease is lost; stays so
    bool ending;     // its (sub)transaction has ended; let go at the next AFTER_LOCKS
    bool unflushed;  // its commit is visible but not flushed yet
    uint16 key_length;
    char key[kHoldKeyBytes];
};

// The kind as counters index it.
inline uint8 KindOf(const Hold *hold) {
    return static_cast<uint8>(hold->kind);
}

class HoldSet final {
  public:
    // Makes room for `count` more; the only operation that allocates, and so may throw.
    static void Reserve(size_t count);
    // Adds a hold at the current nest level; needs room. Never raises.
    static Hold *Add(const std::string &key, uint64 hash, LockKind kind, LockMode mode);
    static void RemoveLast();
    static Hold *Find(const std::string &key, uint64 hash, LockMode mode = LockMode::kExclusive);
    static size_t size();
    static Hold *begin();
    static Hold *end();
    // Drops the holds that are `ending`.
    static void Sweep();
};

}  // namespace inventory_lock::locking
