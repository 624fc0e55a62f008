// What views and metrics() both need to know of leases and of the worker.
//
// Runs in: backends.

#pragma once

#include "shared/state.hpp"

namespace inventory_lock::api {

// How many transactions of this server wait for the entry's key.
uint32 WaitersOf(const shared::LeaseEntry &entry);

// A consistent copy of what the worker reports.
shared::Worker CopyOfWorker(shared::State *state);

// Why new locks go without Redis, or nullptr when they use it.
const char *TroubleOfMode(shared::State *state, const shared::Worker &worker);

}  // namespace inventory_lock::api
