// The gate: PostgreSQL's own lock on the hash of a key.
//
// Runs in: backends. Transactions of one cluster queue here, first come first served, under
// PostgreSQL's deadlock detector, cancel, lock_timeout and pg_locks; only the gate's holder ever
// needs Redis. Tag: an advisory lock of database 0 with objsubid 18764 (0x494C). Never a session
// lock: the gate ends with the (sub)transaction that took it.

#pragma once

#include "locking/hold_set.hpp"

namespace inventory_lock::locking {

enum class GateResult : uint8 { kGot, kBusy, kTimedOut };

// PostgreSQL's own matrix of lock modes decides who waits for whom: holders of an intent do not
// wait for each other, whoever takes the key exclusively waits for all.

// Takes the gate, waiting at most as long as the budget and lock_timeout allow. kBusy: the budget
// allows no wait and somebody has it. kTimedOut: the budget ran out. lock_timeout, cancel and
// deadlock raise, and are counted here. The wait is added to the budget, counted under the hold's
// kind, and recorded as one for its lease entry.
GateResult TakeGate(const Hold &hold, WaitBudget &budget);

// Lets a gate go before the transaction's end: only after a lock that was not got.
void DropGate(const Hold &hold);

}  // namespace inventory_lock::locking
