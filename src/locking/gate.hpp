// The gate: PostgreSQL's own lock on the hash of a key.
//
// Runs in: backends. Transactions of one cluster queue here, first come first served, under
// PostgreSQL's deadlock detector, cancel, lock_timeout and pg_locks; only the gate's holder ever
// needs Redis. Tag: an advisory lock of database 0 with objsubid 18764 (0x494C). Never a session
// lock: the gate ends with the (sub)transaction that took it.

#pragma once

#include "locking/locks.hpp"

namespace inventory_lock::locking {

enum class GateResult : uint8 { kGot, kBusy, kTimedOut };

// Takes the gate, waiting at most as long as the budget and lock_timeout allow. kBusy: the budget
// allows no wait and somebody has it. kTimedOut: the budget ran out. lock_timeout, cancel and
// deadlock raise, and are counted here. The wait is added to the budget and counted under `kind`,
// and recorded as one for lease entry `entry` (-1 = none).
GateResult TakeGate(uint64 hash, LockKind kind, int32 entry, WaitBudget &budget);

// Lets a gate go before the transaction's end: only after a lock that was not got.
void DropGate(uint64 hash);

}  // namespace inventory_lock::locking
