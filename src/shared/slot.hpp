// Slots: each backend's mailbox to the worker.
//
// Runs in: backends and the worker, on shared memory; one slot per process number.
//
//   Free ──backend──► Filled ──worker──► Taken ──worker──► Answered ──backend──► Free
//                        └───────backend gives up────┴─► Abandoned ──backend──► Filled …
//
// One 64-bit word holds the state and the request's number, and changes by compare-exchange only.
// So an answer can never reach a later request of the same slot, also when the process number has
// been given to another process: the numbers go on counting. Whoever loses the race for the word
// cleans up: a worker that cannot answer drops the request; a backend that cannot abandon finds
// the answer. Neither has anything to undo, for the leases follow `interest` (lease_table.hpp).
//
// The payload is written by the backend before Filled (release) and read by the worker after Taken
// (acquire). A backend may abandon and refill while the worker copies; the worker therefore looks
// at the word again after copying.

#pragma once

#include "pg/postgres.hpp"
#include "shared/work_list.hpp"

namespace inventory_lock::shared {

inline constexpr uint32 kMaxKeysPerRequest = 1024;

inline constexpr uint32 kMaxHeldTold = 64;  // holds that a waiting transaction tells about

enum class SlotState : uint8 { kFree = 0, kFilled, kTaken, kAnswered, kAbandoned };

enum class Operation : uint8 {
    kAcquire = 0,  // leases for all entries, or none
    kRenew,        // extend the leases now (the deadline is near)
    kRaise,        // raise the fence of entries[0] above raise_above
    kForce,        // delete the key of entries[0] in Redis, whoever has it
    kInspect,      // who has the key of entries[0]?
    kFence,        // which fence was given out last for the key of entries[0]?
    kClear,        // delete keys that begin with the key of entries[0]; raise_above: SCAN cursor
    kForeign,      // list the locks that others hold (foreign_locks.hpp); no entries
};

enum class Outcome : uint8 {
    kNone = 0,
    kGranted,      // all entries are Held; fence for kRaise; kForeign: the list is there
    kBusy,         // somebody else has one of the keys (no_wait, kInspect)
    kLost,         // the lease is not ours any more
    kUnavailable,  // Redis does not answer
    kAbsent,       // kForce, kInspect: there is no such key
    kDeadlock,     // the wait closes a circle between clusters, and this one gives way
};

enum class WaitKind : uint32 { kNone = 0, kGate, kLease };

// What a transaction that holds leases waits for, so that deadlocks between clusters can be found.
// Written by the backend before it waits, `kind` last; cleared when the wait ends. The worker reads
// id again after the rest: when it has changed, what it read is worthless.
struct WaitRecord {
    pg_atomic_uint32 kind;  // WaitKind
    pg_atomic_uint64 id;    // new with every wait
    uint32 wanted;          // the lease entry waited for
    uint32 held_count;
    uint64 fence;  // the highest that the transaction holds
    uint32 held[kMaxHeldTold];
};

struct Slot {
    pg_atomic_uint64 word;  // request number << 8 | SlotState

    // Written by the backend before Filled.
    Operation operation;
    bool no_wait;
    uint16 reserved;
    uint32 count;
    uint64 raise_above;
    uint32 entries[kMaxKeysPerRequest];

    // Written by the worker between Taken and Answered.
    Outcome outcome;
    uint32 blocked_entry;  // kBusy: which of the entries; kClear: keys deleted
    uint64 fence;          // kRaise, kFence; kClear: next cursor, 0 = done

    WaitRecord wait;
    WorkNode work;
};

struct SlotArray {
    int32 count;
    pg_atomic_uint32 waiting;   // slots with a wait record
    pg_atomic_uint64 wait_ids;  // the last one given
    WorkList filled;
    // followed by Slot slots[count]
};

inline uint64 MakeWord(uint64 request, SlotState state) {
    return request << 8 | static_cast<uint64>(state);
}
inline uint64 RequestOf(uint64 word) {
    return word >> 8;
}
inline SlotState StateOf(uint64 word) {
    return static_cast<SlotState>(word & 0xFF);
}

Size SlotArraySize(int count);
void InitSlots(SlotArray *slots, int count);
inline Slot *SlotAt(SlotArray *slots, int32 index) {
    return reinterpret_cast<Slot *>(reinterpret_cast<char *>(slots) + MAXALIGN(sizeof(SlotArray))) +
           index;
}

// Changes the word from (request, from) to (request, to); false when it was something else.
inline bool Advance(Slot *slot, uint64 request, SlotState from, SlotState to) {
    uint64 expected = MakeWord(request, from);
    return pg_atomic_compare_exchange_u64(&slot->word, &expected, MakeWord(request, to));
}

// The backend's: publishes the payload as a new request and puts the slot on the worker's list.
// Returns the request's number. The slot must not be Filled or Taken.
uint64 Fill(SlotArray *slots, int32 index);

// The backend's: tells that its transaction, which holds `held`, begins to wait. Never raises.
void BeginWait(SlotArray *slots, int32 index, WaitKind kind, uint32 wanted, const uint32 *held,
               uint32 held_count, uint64 fence);
void EndWait(SlotArray *slots, int32 index);

// The worker's: is the request Taken, and still wanted?
bool IsTaken(Slot *slot, uint64 request);

// The worker's: answers a request that is Taken. True: wake the backend; false: it was given up.
bool Answer(Slot *slot, uint64 request, Outcome outcome, uint32 blocked_entry, uint64 fence);

// The backend's: gives up the request in whatever state it is. Never raises or waits.
void Abandon(Slot *slot);

}  // namespace inventory_lock::shared
