// The locks that others hold, as Redis last listed them.
//
// Runs in: the worker writes (worker/foreign_list.cpp), backends read. One list for everybody: it
// is made anew when a backend asks, and those who ask meanwhile share it. Of fixed size; what does
// not fit is left out, and `more` says so.
//
// Locking: all of it under the LWLock that follows the lease table's partition locks; nobody holds
// it for longer than it takes to copy the list, and no other lock is taken under it.

#pragma once

#include "shared/lease_table.hpp"

namespace inventory_lock::shared {

inline constexpr int32 kForeignLocks = 512;

struct ForeignLock {
    char key[kKeyBytes];        // bytes as Redis has them, zero-terminated
    char token[kBlockerBytes];  // printable beginning
    int64 until_us;             // CLOCK_BOOTTIME at which its TTL ends; -1 = no TTL
};

struct ForeignLocks {
    int32 count;
    bool more;  // there are others that found no place
    ForeignLock locks[kForeignLocks];
};

inline LWLock *ForeignLocksLock(LeaseTable *table) {
    return &table->partitions[kPartitions].lock;
}

}  // namespace inventory_lock::shared
