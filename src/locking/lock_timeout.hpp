// Sets lock_timeout for one wait.
//
// Runs in: backends. Below the machinery of settings: plain stores, so that unwinding restores what
// was there. Only around waits in which nobody's SQL runs that could look at the setting.

#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include <storage/proc.h>
}

namespace inventory_lock::locking {

class ScopedLockTimeout final {
  public:
    explicit ScopedLockTimeout(int timeout_ms) : saved_(LockTimeout) { LockTimeout = timeout_ms; }
    ~ScopedLockTimeout() { LockTimeout = saved_; }
    ScopedLockTimeout(const ScopedLockTimeout &) = delete;
    ScopedLockTimeout &operator=(const ScopedLockTimeout &) = delete;

  private:
    int saved_;
};

}  // namespace inventory_lock::locking
