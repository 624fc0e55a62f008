// One line in the log, every inventory_lock.log_stats_interval: what the locks did since the last.
//
// Runs in: the worker. Reads the counters of shared memory and remembers what they were.

#pragma once

#include "shared/state.hpp"

namespace inventory_lock::worker {

class Summary final {
  public:
    // Writes the line when it is time. Returns when the next one is due (CLOCK_BOOTTIME, µs).
    int64 WriteIfDue(int64 now_us);

  private:
    struct Figures {
        uint64 got = 0;  // keys, in whatever way
        uint64 handed_over = 0;
        uint64 degraded = 0;
        uint64 timed_out = 0;
        uint64 cancelled = 0;
        uint64 refused = 0;
        uint64 lost = 0;
        uint64 commands = 0;
        uint64 errors = 0;
        uint64 lease_waits[shared::kBuckets] = {};
        uint64 gate_waits[shared::kBuckets] = {};
    };
    static Figures Now();
    void Write(const Figures &now, int64 elapsed_us) const;

    Figures last_;
    int64 last_us_ = 0;  // 0: off
};

}  // namespace inventory_lock::worker
