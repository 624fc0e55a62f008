// Tells the worker that this transaction waits while it holds leases.
//
// Runs in: backends. PostgreSQL's deadlock detector sees gates and rows of this cluster only. A
// circle through Redis (we hold k1 and want k2, another cluster the other way round) is found by
// the worker, which publishes what is recorded here; see worker/keeper_deadlocks.cpp.

#pragma once

#include "locking/locks.hpp"
#include "shared/slot.hpp"

namespace inventory_lock::locking {

// Records the wait for a lease entry while it lives, if the transaction holds leases. Plain stores
// only. An ERROR unwinds it; ClearWaitRecord() is for exits that do not unwind.
class ScopedWaitRecord final {
  public:
    ScopedWaitRecord(shared::WaitKind kind, int32 wanted);
    ~ScopedWaitRecord();
    ScopedWaitRecord(const ScopedWaitRecord &) = delete;
    ScopedWaitRecord &operator=(const ScopedWaitRecord &) = delete;
};

void ClearWaitRecord();

}  // namespace inventory_lock::locking
