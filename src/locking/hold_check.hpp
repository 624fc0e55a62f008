// Is a lease still ours?
//
// Runs in: backends. A hold's lease is ours while the entry is Held in the hold's generation and
// its deadline on CLOCK_BOOTTIME is far enough away. Otherwise the worker is asked to renew, and
// the answer waited for; a lease that turns out to be lost dooms the hold for good (IL011).

#pragma once

#include "locking/hold_set.hpp"

namespace inventory_lock::locking {

// Verifies one hold with `margin_us` to spare, waiting for a renewal if needed. Throws IL011.
void VerifyHold(Hold *hold, int64 margin_us);

// Verifies all holds that are not ending: in a call, and before commit.
void VerifyHolds(bool before_commit);

// The margin that a lease with this TTL needs during a transaction.
int64 MarginUs(int64 ttl_ms);

[[noreturn]] void ThrowLost(Hold *hold);

}  // namespace inventory_lock::locking
