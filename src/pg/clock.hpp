// The two clocks. Runs in: every process.
//
// Deadlines of leases are counted on CLOCK_BOOTTIME: it never steps and goes on through suspend.
// Fences are compared with Redis' TIME and therefore use the wall clock.

#pragma once

#include <time.h>

#include "pg/postgres.hpp"

namespace inventory_lock::pg {

inline int64 ClockUs(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return static_cast<int64>(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
}

// Microseconds since boot, suspend included.
inline int64 BootUs() {
    return ClockUs(CLOCK_BOOTTIME);
}

// Microseconds since 1970 on the wall clock.
inline int64 WallUs() {
    return ClockUs(CLOCK_REALTIME);
}

}  // namespace inventory_lock::pg
