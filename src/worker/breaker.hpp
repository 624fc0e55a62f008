// The circuit breaker: whether new locks ask Redis at all.
//
// Runs in: the worker, which writes the state; backends read it in shared memory. It decides about
// new acquisitions only: leases that are valid serve until their deadline.
//
//   Closed ──failures in a row──► Open ──cooldown over, or a lane came up──► HalfOpen
//     ▲                             ▲                                           │ one probe at a
//     time └────────2 good probes────────┼───────────────a bad probe─────────────────┘
//
// The cooldown doubles with each bad probe, from breaker_cooldown up to 60 s. Probes are the
// worker's own writes, so no caller waits for one.

#pragma once

#include "pg/postgres.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::worker {

class Breaker {
  public:
    bool closed() const;

    void Succeeded();  // Redis answered a real command
    // True when this failure opened the breaker.
    bool Failed(const redis::Trouble &trouble, int64 now_us);

    // A lane came up: probe at once.
    void ProbeSoon(int64 now_us);
    // Is a probe due? Then half-open; report its end by ProbeEnded().
    bool ProbeDue(int64 now_us);
    // True when the breaker closed.
    bool ProbeEnded(bool good, int64 now_us);
    // The probe was answered with an error: that is what is wrong now.
    void ProbeRefused(redis::Trouble trouble);
    // When ProbeDue() may next be true; INT64_MAX while closed or while a probe is out.
    int64 NextProbeUs() const;
    // Forgets everything: another server was configured.
    void Reset();

    const redis::Trouble &trouble() const { return trouble_; }

  private:
    void Set(int state);

    redis::Trouble trouble_;
    int64 cooldown_us_ = 0;
    int64 next_probe_us_ = 0;
    int good_probes_ = 0;
    bool probing_ = false;
};

}  // namespace inventory_lock::worker
