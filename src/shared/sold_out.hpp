// Keys whose stock was lately found too small: a hint, never a verdict.
//
// Runs in: backends. When thousands want what is sold out, each would queue for the lock only to be
// refused. A call that finds its key here looks at the stock in a snapshot first, and is refused
// without any lock if the snapshot shows too little. What is sold is never decided here. A small
// table of hashes in shared memory, one per place, written and read by single atomic operations;
// a collision costs one look.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::shared {

inline constexpr uint32 kSoldOutPlaces = 1024;  // a power of two

struct SoldOut {
    pg_atomic_uint64 hashes[kSoldOutPlaces];  // 0 = none
};

void InitSoldOut(SoldOut *table);

// These do nothing without shared memory. `hash` is HashKey() of the stock key.
void NoteSoldOut(uint64 hash);
void NoteInStock(uint64 hash);
bool LatelySoldOut(uint64 hash);

}  // namespace inventory_lock::shared
