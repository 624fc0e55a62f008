// How long one call may wait; see locks.hpp. Runs in: backends.

#include "locking/locks.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::locking {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kUsPerDay = INT64CONST(86400000000);

// Length of an interval; months count 30 days, and what is too long to count is "for ever".
int64 IntervalUs(const Interval &interval) {
    int64 days;
    int64 us;
    if (__builtin_mul_overflow(static_cast<int64>(interval.month), INT64CONST(30), &days) ||
        __builtin_add_overflow(days, static_cast<int64>(interval.day), &days) ||
        __builtin_mul_overflow(days, kUsPerDay, &us) ||
        __builtin_add_overflow(us, interval.time, &us)) {
        return interval.month < 0 || interval.day < 0 || interval.time < 0 ? -1 : INT64_MAX / 2;
    }
    return us;
}

}  // namespace

WaitBudget WaitBudget::From(const Interval *wait_timeout) {
    WaitBudget budget;
    budget.started_us_ = pg::BootUs();
    if (wait_timeout == nullptr) {
        const int setting = pg::settings::wait_timeout_ms;
        budget.limit_us_ = setting < 0 ? -1 : setting * kUsPerMs;
        return budget;
    }
    budget.limit_us_ = std::min(IntervalUs(*wait_timeout), INT64_MAX / 4);
    if (budget.limit_us_ < 0) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "wait_timeout must not be negative");
    }
    return budget;
}

WaitBudget WaitBudget::NoWait() {
    WaitBudget budget;
    budget.started_us_ = pg::BootUs();
    budget.limit_us_ = 0;
    return budget;
}

WaitBudget WaitBudget::UntilRenewed() {
    WaitBudget budget;
    budget.started_us_ = pg::BootUs();
    budget.limit_us_ = (static_cast<int64>(pg::settings::redis_connect_timeout_ms) +
                        pg::settings::redis_command_timeout_ms) *
                       2 * kUsPerMs;
    return budget;
}

int64 WaitBudget::LeftMs() const {
    if (unlimited()) {
        return INT64_MAX;
    }
    const int64 left_us = started_us_ + limit_us_ - pg::BootUs();
    return left_us <= 0 ? 0 : (left_us + kUsPerMs - 1) / kUsPerMs;
}

double WaitBudget::WaitedMs() const {
    return static_cast<double>(waited_us_) / kUsPerMs;
}

}  // namespace inventory_lock::locking
