// The lease table: which Redis keys this cluster has, wants or is letting go of.
//
// Runs in: backends and the worker, on shared memory of fixed size (inventory_lock.max_leases).
//
// Interest decides. `interest` counts the transactions of this cluster that hold a key or wait for
// it. A transaction adds itself before it queues at the gate (Join) and takes itself off after its
// end or when it gives up (Leave); whoever brings it to zero asks the worker for the release. So a
// cancelled waiter cannot orphan a lease, and a hand-over has no gap: the next holder was counted
// before it queued.
//
// Locking rules
//   * The partition lock of a key's hash protects its bucket chain, and the making and freeing of
//     entries. Join looks up under the shared lock and counts itself before letting it go, so an
//     entry that is found cannot be freed. An entry is freed only when Absent, with interest 0 and
//     unflushed 0, under the exclusive lock.
//   * state, interest, unflushed, generation, next_fence, tenure and holder change under the
//     entry's spinlock: a few stores, no calls, nothing that can raise.
//   * token, prev, ttl and the request's bookkeeping are the worker's; they stand in shared memory
//     so that the next worker knows what may be in Redis under our name.
//   * Order: partition lock, then spinlock; never two of either.
//
// The table is dense (a free list that hands out the entry freed last), because every backend pays
// a page fault for each page it touches first.

#pragma once

#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "shared/work_list.hpp"

namespace inventory_lock::shared {

inline constexpr size_t kKeyBytes = 256;     // longest key plus a zero byte
inline constexpr size_t kTokenBytes = 72;    // longest token of ours plus a zero byte
inline constexpr size_t kBlockerBytes = 96;  // what is kept of a foreign token
inline constexpr int kPartitions = 16;
// Keys that can be shared begin so.
inline constexpr std::string_view kSharedKeys = "inventory_lock:product:";

enum class LeaseState : uint8 {
    kAbsent = 0,  // nothing of ours in Redis
    kAcquiring,   // asked for, not answered
    kHeld,        // ours until deadline_us
    kReleasing,   // compare-and-delete sent, not acknowledged
    kLost,        // was ours; expired, deleted or taken
    kUnknown,     // the connection died with a request under way
};

// Why a lease became Lost.
enum class LostReason : uint8 { kNone = 0, kExpired, kDeleted, kTaken, kForced };

// What of a key the entry is about. A key that transactions share and one that a transaction has
// alone are two leases: two entries with the same key, under different hashes.
enum class LeaseMode : uint8 { kExclusive = 0, kIntent };

// Plain copyable text of bounded length.
struct Blocker {
    char token[kBlockerBytes];  // printable beginning of the foreign token, zero-terminated
    int64 until_us;             // CLOCK_BOOTTIME at which its TTL ends; 0 = unknown, -1 = no TTL
};

struct LeaseEntry {
    // Under the spinlock.
    slock_t mutex;
    LeaseState state;
    uint8 kind;                // locking::LockKind; set by the first to join
    LeaseMode mode;            // the same
    bool may_linger;           // may be kept unused: see worker/keeper_linger.cpp
    bool degraded;             // the present holder goes on without Redis
    LostReason lost_reason;    // of the latest loss
    uint32 interest;           // holders and waiters of this cluster
    uint32 unflushed;          // commits visible but not yet flushed (early release)
    uint32 holders;            // transactions that have taken over this generation
    uint32 users;              // transactions that hold the key, with a lease or without
    uint64 generation;         // changes with every grant, loss and release
    uint64 adopted;            // generation that a transaction has taken over already
    uint64 next_fence;         // fence of the next hold; one above the highest known
    int64 deadline_us;         // CLOCK_BOOTTIME until which Redis keeps the key for us
    int64 tenure_start_us;     // when this cluster got the key
    int64 idle_since_us;       // when interest fell to zero
    int64 ttl_ms;              // asked for by the latest user
    int32 holder_pid;          // of several who came first; 0 = nobody, or it has left
    int64 holder_since_us;     // CLOCK_BOOTTIME; when that has left: since when it is not known who
    TimestampTz holder_since;  // wall clock, for views
    Blocker blocker;           // who had the key when we last asked in vain

    // Who had the key, by token, when the present lease was first asked for in vain; "" = nobody.
    char waited_for[kBlockerBytes];

    // The worker's (readable by anybody under the spinlock).
    char token[kTokenBytes];
    char prev[kTokenBytes];

    // Fixed while the entry is in the table.
    uint64 hash;
    uint16 key_length;
    char key[kKeyBytes];

    // Under the partition lock; free entries are chained by it too.
    int32 next;

    WorkNode work;
};

struct LeaseTable {
    int32 capacity;
    uint32 bucket_mask;
    // Named tranche, in shared memory at the same address everywhere; one more than partitions:
    // the last is of the foreign locks (foreign_locks.hpp).
    LWLockPadded *partitions;
    slock_t free_mutex;  // protects free_head and used
    int32 free_head;     // -1 = none
    int32 used;
    // No fence of a key whose entry was freed is above this; only grows. So a fence given out anew
    // is above all of the key's earlier ones, also when Redis has forgotten them or its clock is
    // behind.
    pg_atomic_uint64 fence_floor;
    WorkList work;  // entries the worker should look at
    // followed by int32 buckets[bucket_mask + 1] and LeaseEntry entries[capacity]
};

uint64 HashKey(std::string_view key);
// The hash of the entry for this mode, from its key's. The same function finds the way back.
inline uint64 HashOfMode(uint64 hash, LeaseMode mode) {
    return mode == LeaseMode::kIntent ? hash ^ UINT64CONST(0x9E3779B97F4A7C15) : hash;
}
Size LeaseTableSize(int capacity);
void InitLeaseTable(LeaseTable *table, int capacity);  // at server start

inline int32 *Buckets(LeaseTable *table) {
    return reinterpret_cast<int32 *>(reinterpret_cast<char *>(table) +
                                     MAXALIGN(sizeof(LeaseTable)));
}
LeaseEntry *Entry(LeaseTable *table, int32 index);

// Finds or makes the entry of the key and adds one to its interest, unless that would exceed
// max_interest (0 = no limit): then kTooMany. kFull when the table has no room. May wait for an
// LWLock and so raise only through it; call inside pg::Call().
inline constexpr int32 kTooMany = -1;
inline constexpr int32 kFull = -2;
int32 Join(LeaseTable *table, const char *key, size_t length, uint64 key_hash, uint8 kind,
           LeaseMode mode, uint32 max_interest);

// Takes one off the interest. Returns true when the worker must look at the entry (it was pushed
// to the work list: set the worker's latch). Never raises, waits or allocates.
bool Leave(LeaseTable *table, int32 index);

// Is more than half of the table in use? Leases do not linger then. Read without a lock: a hint.
bool Crowded(const LeaseTable *table);

// Frees the entry if it is idle. `wait`: may wait for the partition lock (the worker); otherwise
// gives up when it is not free at once. True when freed.
bool FreeIfIdle(LeaseTable *table, int32 index, bool wait);

// The entry of a key under this hash, or -1. Without interest of the caller's the answer may be
// stale at once.
int32 Find(LeaseTable *table, const char *key, size_t length, uint64 hash);

// Copies the entry of a key under this hash. False when there is none.
bool Look(LeaseTable *table, const char *key, size_t length, uint64 hash, LeaseEntry *copy);

// Calls visit(index, entry copy) for every entry in use; each copy is consistent in itself.
void ForEachEntry(LeaseTable *table, const std::function<void(int32, const LeaseEntry &)> &visit);

}  // namespace inventory_lock::shared
