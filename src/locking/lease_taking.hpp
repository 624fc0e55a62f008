// Gets leases for holds whose gates are ours.
//
// Runs in: backends. What this cluster has is taken over in shared memory; the rest is asked of the
// worker in one request. Nothing is taken over before everything can be: a transaction does not
// hold one lease of a call while it waits for another. When Redis cannot be asked, the holds go on
// without a lease, with a fence from the clock, or the call is refused (on_redis_failure).

#pragma once

#include "locking/hold_set.hpp"

namespace inventory_lock::locking {

enum class Leased : uint8 { kAll, kBusy };

// Gets leases for the holds [first, first + count) of the hold set, all or none. kBusy: somebody
// else has a key, and `no_wait`. Raises IL010, IL012, 55P03, 57014, 40P01.
Leased TakeLeases(size_t first, size_t count, bool no_wait, WaitBudget &budget);

// Asks for the leases of these holds already, if there is anything to ask. Does not wait, nor
// raise.
void AskForLeasesAhead(size_t first, size_t count);

// Raises IL010, saying who has the key and for how long.
[[noreturn]] void ThrowTimedOut(const Hold *hold);

// Why there are no locks in Redis, when they are not configured, and what to do.
struct Missing {
    const char *detail;
    const char *hint;
};
std::optional<Missing> MissingConfiguration();

// Do new locks go without Redis at present?
bool BreakerOpen();

}  // namespace inventory_lock::locking
