// The keys that are waited for most, in memory of fixed size.
//
// Runs in: backends (they note waits), views (they read). The space-saving algorithm (Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005):
// a key that has a place is counted; a new one takes the place of the least counted and begins
// with its count, which is written down as the error. So for every key shown
//
//   waits − error ≤ waits since the reset ≤ waits
//
// and a key waited for more often than (waits of its part) / kSketchPlaces is there for certain.
// Times and outcomes are counted from the moment the key took its place.
//
// Locking: a key belongs to the part that its hash names; everything of a part changes under the
// part's spinlock, held for one pass over kSketchPlaces numbers and at most one copy of a key.
// Only transactions that did wait come here, so waiters of one key, who stand in line anyway, meet
// nobody else but the keys of the same part.

#pragma once

#include "shared/counters.hpp"
#include "shared/lease_table.hpp"

namespace inventory_lock::shared {

inline constexpr int kSketchParts = 16;
inline constexpr int kSketchPlaces = 32;

struct KeyWaits {
    uint64 waits;      // at most this often
    uint64 error;      // at least waits − error
    uint64 timed_out;  // of the waits
    uint64 cancelled;  // of the waits
    uint64 wait_us;    // sum
    uint64 longest_us;
    uint8 kind;         // locking::LockKind
    uint16 key_length;  // 0: the place is free
    char key[kKeyBytes];
};

struct SketchPart {
    slock_t mutex;
    uint64 hashes[kSketchPlaces];  // side by side, for the search
    KeyWaits places[kSketchPlaces];
};

struct KeySketch {
    SketchPart parts[kSketchParts];
};

void InitKeySketch(KeySketch *sketch);  // at server start
void ResetKeySketch(KeySketch *sketch);

// One wait for the key of an entry, whose interest counts the caller, has ended. Never raises.
void NoteKeyWait(const LeaseEntry &entry, Ended ended, int64 us);

// Calls visit(copy) for every key that has a place.
void ForEachKeyWaits(KeySketch *sketch, const std::function<void(const KeyWaits &)> &visit);

}  // namespace inventory_lock::shared
