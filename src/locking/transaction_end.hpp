// The ends of transactions: when a hold is checked, and when it is let go.
//
// Runs in: backends, inside PostgreSQL's transaction machinery.
//
// Order in commit and abort: callback of the (sub)transaction, gate still held → LOCKS, the gate
// goes → AFTER_LOCKS. So the callbacks for COMMIT, ABORT and ABORT_SUB only mark holds as ending;
// the next resource-release callback in phase AFTER_LOCKS takes them off the lease table. At that
// point the commit is visible and durable, and the next local waiter has the gate. Nothing there
// raises, allocates or waits, the flush of an early release excepted.
//
// PRE_COMMIT is the last place where an ERROR is possible: every lease must have commit_margin
// left, or be renewed first. After it only the row lock and the fence protect.

#pragma once

#include "locking/locks.hpp"

namespace inventory_lock::locking {

// Registers the callbacks; from _PG_init, once per process.
void InstallTransactionCallbacks();

// Registers the safety net for a process that dies with holds; at the first lock.
void EnsureExitCallback();

// Tells the end of this transaction that a call asks for early release (see architecture).
void NoteEarlyRelease();

// True the first time it is called in a transaction: for warnings that come once.
bool FirstWarningOfTransaction();

}  // namespace inventory_lock::locking
