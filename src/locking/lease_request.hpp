// Asks the worker for something and waits for the answer.
//
// Runs in: backends. One request at a time per backend (slot.hpp). Every way out of the wait that
// is not an answer abandons the request: a limit does so here, an ERROR or FATAL through the end
// of the (sub)transaction (AbandonRequest). The same ends one that nobody has come to wait for.
// What the worker does late then finds interest 0 and is undone by it.

#pragma once

#include "locking/locks.hpp"
#include "shared/slot.hpp"

namespace inventory_lock::locking {

struct LeaseAnswer {
    shared::Outcome outcome = shared::Outcome::kUnavailable;
    bool timed_out = false;    // the budget's limit ended the wait
    uint32 blocked_entry = 0;  // kBusy
    uint64 fence = 0;          // kRaise
};

// Asks for `operation` on the entries. Waits within the budget and lock_timeout (which raises
// 55P03), answering cancel and timeouts. Unavailable when no worker serves.
LeaseAnswer AskWorker(shared::Operation operation, const std::vector<int32> &entries, bool no_wait,
                      uint64 raise_above, WaitBudget &budget);

// Asks for leases without waiting. AskWorker() for the same entries then waits for that answer; any
// other request gives it up. Never raises.
void AskAhead(const std::vector<int32> &entries);

// Has AskAhead() asked for these, and nothing else been asked since?
bool IsAskedAhead(const std::vector<int32> &entries);

// Gives up a request that an error left behind. Never raises.
void AbandonRequest();

// Is a worker there that answers in time?
bool WorkerServes();

}  // namespace inventory_lock::locking
