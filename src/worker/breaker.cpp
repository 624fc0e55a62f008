// The circuit breaker; see breaker.hpp. Runs in: the worker.

#include "worker/breaker.hpp"

#include <utility>

#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::worker {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kMaxCooldownUs = 60 * 1000000;
constexpr int64 kBetweenGoodProbesUs = 50 * kUsPerMs;
constexpr int kGoodProbes = 2;

shared::Breaker &State() {
    return shared::Get()->breaker;
}

bool Is(shared::BreakerState state) {
    return pg_atomic_read_u32(&State().state) == static_cast<uint32>(state);
}

}  // namespace

bool Breaker::closed() const {
    return Is(shared::BreakerState::kClosed);
}

void Breaker::Set(int state) {
    pg_atomic_write_u64(&State().changed_at, static_cast<uint64>(GetCurrentTimestamp()));
    pg_atomic_write_u32(&State().state, static_cast<uint32>(state));
}

void Breaker::Succeeded() {
    if (closed()) {
        pg_atomic_write_u32(&State().failures, 0);
    }
}

bool Breaker::Failed(const redis::Trouble &trouble, int64 now_us) {
    trouble_ = trouble;
    const uint32 failures = pg_atomic_fetch_add_u32(&State().failures, 1) + 1;
    if (!closed() || failures < static_cast<uint32>(pg::settings::breaker_failures)) {
        return false;
    }
    cooldown_us_ = pg::settings::breaker_cooldown_ms * kUsPerMs;
    next_probe_us_ = now_us + cooldown_us_;
    good_probes_ = 0;
    probing_ = false;
    Set(static_cast<int>(shared::BreakerState::kOpen));
    shared::Count(shared::Total::kBreakerOpened);
    return true;
}

void Breaker::ProbeSoon(int64 now_us) {
    if (!closed() && !probing_) {
        next_probe_us_ = std::min(next_probe_us_, now_us);
    }
}

bool Breaker::ProbeDue(int64 now_us) {
    if (closed() || probing_ || now_us < next_probe_us_) {
        return false;
    }
    probing_ = true;
    if (Is(shared::BreakerState::kOpen)) {
        Set(static_cast<int>(shared::BreakerState::kHalfOpen));
    }
    return true;
}

bool Breaker::ProbeEnded(bool good, int64 now_us) {
    if (closed() || !probing_) {
        return false;
    }
    probing_ = false;
    if (!good) {
        good_probes_ = 0;
        cooldown_us_ = std::min(cooldown_us_ * 2, kMaxCooldownUs);
        next_probe_us_ = now_us + cooldown_us_;
        Set(static_cast<int>(shared::BreakerState::kOpen));
        return false;
    }
    if (++good_probes_ < kGoodProbes) {
        next_probe_us_ = now_us + kBetweenGoodProbesUs;
        return false;
    }
    pg_atomic_write_u32(&State().failures, 0);
    Set(static_cast<int>(shared::BreakerState::kClosed));
    return true;
}

void Breaker::ProbeRefused(redis::Trouble trouble) {
    if (!closed() && probing_) {
        trouble_ = std::move(trouble);
    }
}

int64 Breaker::NextProbeUs() const {
    return closed() || probing_ ? INT64_MAX : next_probe_us_;
}

void Breaker::Reset() {
    good_probes_ = 0;
    probing_ = false;
    trouble_ = {};
    pg_atomic_write_u32(&State().failures, 0);
    if (!closed()) {
        Set(static_cast<int>(shared::BreakerState::kClosed));
    }
}

}  // namespace inventory_lock::worker
