// Limits waits for PostgreSQL's locks to what is left of a call's budget.
//
// Runs in: backends. Below the machinery of settings: plain stores, so that unwinding restores what
// was there. Only around waits in which nobody's SQL runs that could look at the setting.

#pragma once

#include "locking/locks.hpp"

extern "C" {
#include <storage/proc.h>
}

namespace inventory_lock::locking {

// For one wait, or for several one after the other: Renew() before each but the first.
class ScopedWaitLimit final {
  public:
    explicit ScopedWaitLimit(const WaitBudget &budget) : budget_(budget), saved_(LockTimeout) {
        Renew();
    }
    ~ScopedWaitLimit() { LockTimeout = saved_; }
    ScopedWaitLimit(const ScopedWaitLimit &) = delete;
    ScopedWaitLimit &operator=(const ScopedWaitLimit &) = delete;

    void Renew() const {
        if (!budget_.unlimited()) {
            const auto left_ms = static_cast<int>(
                std::clamp<int64>(budget_.LeftMs(), 1, std::numeric_limits<int>::max()));
            LockTimeout = saved_ == 0 ? left_ms : std::min(saved_, left_ms);
        }
    }

    // Was it the budget that ended a wait, and not the caller's own lock_timeout?
    bool IsOver() const { return !budget_.unlimited() && budget_.LeftMs() == 0; }

  private:
    const WaitBudget &budget_;
    int saved_;
};

}  // namespace inventory_lock::locking
