// The background worker's registration. Runs in: the postmaster, from _PG_init.

#pragma once

namespace inventory_lock::worker {

// Registers the worker: one per server, on a primary, restarted one second after it dies.
void Register();

}  // namespace inventory_lock::worker
