// Fences of writers from outside: a service that holds a lock in Redis proves that it still has it.
//
// Runs in: backends. The fence of a stock key is kept in the rows it protects; that of any other
// key in inventory_lock.fence. Source of the idea: Martin Kleppmann, "How to do distributed
// locking" (2016): the resource itself refuses a writer with an older fence.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::commerce {

// Locks what stores the fence of `key`, for a stock key the rows of the binding, and raises it to
// `fence`. Throws IL011 when a higher one is stored there, or is known to have been given out
// since.
void AssertFence(const std::string &key, int64 fence, const std::string &binding_name);

}  // namespace inventory_lock::commerce
