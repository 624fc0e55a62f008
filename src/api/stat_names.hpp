// Names of states, counters and waits, as views and metrics() spell them.
//
// Runs in: backends. One name per value of the enumerations in shared/, in their order.

#pragma once

#include "shared/state.hpp"

namespace inventory_lock::api {

inline constexpr const char *kKindNames[] = {"inventory", "order", "custom"};
inline constexpr const char *kStateNames[] = {"absent",    "acquiring", "held",
                                              "releasing", "lost",      "unknown"};
inline constexpr const char *kCounterNames[] = {
    "acquired", "handed_over", "warm",        "degraded", "timed_out",   "cancelled",
    "busy",     "refused",     "unavailable", "lost",     "fence_raised"};
inline constexpr const char *kTotalNames[] = {
    "renewals",      "reasserted",     "releases",       "yields",         "woken_by_tracking",
    "woken_by_poll", "woken_by_timer", "redis_commands", "breaker_opened", "orphans_freed"};
inline constexpr const char *kErrorNames[] = {
    "none",    "refused",   "unreachable",   "timeout", "closed", "protocol", "auth", "permission",
    "loading", "read_only", "out_of_memory", "misconf", "busy",   "moved",    "other"};
inline constexpr const char *kWaitNames[] = {"gate", "lease", "row", "hold"};
inline constexpr const char *kEndedNames[] = {"got", "timed_out", "cancelled"};
inline constexpr const char *kLaneNames[] = {"down", "connecting", "handshake", "ready"};
inline constexpr const char *kBreakerNames[] = {"closed", "open", "half_open"};
static_assert(std::size(kCounterNames) == static_cast<size_t>(shared::Counter::kCount));
static_assert(std::size(kTotalNames) == static_cast<size_t>(shared::Total::kErrorsFirst));
static_assert(std::size(kWaitNames) == static_cast<size_t>(shared::Wait::kCount));
static_assert(std::size(kEndedNames) == static_cast<size_t>(shared::Ended::kCount));

template <size_t N>
const char *NameOf(const char *const (&names)[N], size_t index) {
    return index < N ? names[index] : "other";
}

}  // namespace inventory_lock::api
