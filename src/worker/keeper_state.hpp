// The keeper's private structs, shared by its three source files. Runs in: the worker.

#pragma once

#include "pg/settings.hpp"
#include "worker/keeper.hpp"

namespace inventory_lock::worker {

inline constexpr int64 kUsPerMs = 1000;
inline constexpr int64 kFenceTtlMs = 24 * 3600 * 1000;
inline constexpr int64 kForeignMemoryUs = INT64CONST(600000000);  // 10 minutes
inline constexpr size_t kForeignMemory = 4096;                    // keys remembered
inline constexpr int64 kGapEveryUs = 1000000;
inline constexpr int64 kStandBackUs = 5 * kUsPerMs;  // lets another cluster have its turn
inline constexpr int kNoLane = -1;

inline int64 RetryUs() {
    return pg::settings::retry_interval_ms * kUsPerMs;
}

// The retry interval, plus or minus a quarter, so that waiters do not march in step.
int64 JitteredRetryUs();

// How long a request waits for Redis to become reachable before it is told that it is not.
inline int64 PatienceUs() {
    return std::max(pg::settings::redis_connect_timeout_ms,
                    pg::settings::redis_command_timeout_ms) *
           kUsPerMs * 3 / 2;
}

// One configured server. Forwards what it hears to the keeper.
struct Keeper::Session final : redis::NodeEvents {
    Session(Keeper &owner, uint32 number) : keeper(owner), id(number) {}

    void OnLaneReady(int lane) override { keeper.OnLaneReady(*this, lane); }
    void OnLaneDown(int lane, const redis::Trouble &trouble) override {
        keeper.OnLaneDown(*this, lane, trouble);
    }
    void OnReply(int lane, uint64_t tag, redis::ReplyView reply) override {
        keeper.OnReply(*this, lane, tag, reply);
    }
    void OnInvalidated(int, std::string_view key) override { keeper.OnInvalidated(key); }
    void OnAllInvalidated(int) override { keeper.OnAllInvalidated(*this); }
    void OnRecall(int, std::string_view payload) override { keeper.OnRecall(payload); }
    void OnPrimary() override { keeper.OnPrimary(*this); }
    void OnNoSentinel(const redis::Trouble &trouble) override {
        keeper.OnNoSentinel(*this, trouble);
    }

    bool AnyReady() const {
        for (int lane = 0; lane < node->lanes(); lane++) {
            if (Ready(lane)) {
                return true;
            }
        }
        return false;
    }
    bool Ready(int lane) const { return node->state(lane) == redis::LaneState::kReady; }

    Keeper &keeper;
    uint32 id;
    std::unique_ptr<redis::Node> node;
    uint64 endpoint_hash = 0;
    bool told_down = false;         // "cannot reach" has been logged
    bool told_no_sentinel = false;  // the same of Sentinel
    bool took_over = false;         // the Unknown entries of an earlier worker were worked off
    int64 drained_at_us = 0;        // when it stopped being the active one
    int64 clock_offset_us = 0;      // Redis TIME minus CLOCK_BOOTTIME: at least,
    int64 clock_offset_max_us = 0;  // and at most
    bool clock_known = false;
};

// What one backend waits for.
struct Keeper::Request {
    int32 slot = -1;
    uint64 number = 0;
    shared::Operation operation = shared::Operation::kAcquire;
    bool no_wait = false;
    bool in_flight = false;
    bool blocked = false;      // somebody else has a key of it
    int32 blocked_entry = -1;  // which
    std::vector<int32> entries;
    uint64 raise_above = 0;
    int64 taken_us = 0;
    int64 reachable_us = 0;    // last time that Redis was reachable for it
    int64 stuck_since_us = 0;  // since when it waits for a connection that died
    int64 retry_at_us = 0;
};

enum class Purpose : uint8 {
    kAcquire,
    kExtend,
    kRelease,
    kRaise,
    kIdleTime,
    kProbe,
    kTime,
    kInfo,
    kForce,
    kInspect,
    kFence,
    kClear,
    kOrphan,
    kWaits
};

// One entry's share in a command, as sent.
struct Keeper::Part {
    bool Has(const char *other) const { return strcmp(token, other) == 0; }

    int32 entry = -1;
    int64 ttl_ms = 0;
    char token[shared::kTokenBytes] = {};
};

// A command on its way.
struct Keeper::Operation {
    Purpose purpose = Purpose::kTime;
    uint32 session = 0;
    int lane = 0;
    redis::Command command;  // for scripts, to send again by text
    std::vector<Part> parts;
    std::string key;  // asked about; the entry may be another key's by now
    int32 slot = -1;
    uint64 number = 0;
    uint64 fence = 0;
    int64 sent_us = 0;
};

// What the worker alone knows of a lease entry.
struct Keeper::Local {
    uint32 session = 0;  // 0 = none
    int lane = kNoLane;
    int32 waiter = -1;   // slot of the request that wants the entry
    bool dirty = false;  // invalidated while an acquire was in flight
    shared::LeaseState before = shared::LeaseState::kAbsent;  // for UndoAcquiring
    bool extending = false;
    bool only_look = false;   // the extend to be sent changes nothing
    bool in_doubt = false;    // whether Redis still has the key; the next extend will tell
    bool look_again = false;  // changed by others while an extend was in flight
    bool idle_asked = false;
    bool told_max_hold = false;
    bool release_alone = false;    // a release of it failed, perhaps because of others beside it
    int64 check_at_us = 0;         // valid timer of the entry; others are stale
    uint64 stored_fence = 0;       // the one that Redis stored with the grant; 0 = not known
    int64 asked_us = 0;            // when the latest acquire was sent
    int64 extended_us = 0;         // when the latest acknowledged acquire or extend was sent
    int64 contended_until_us = 0;  // another cluster is known to wait
    int64 stand_back_until_us = 0;
    int64 stand_back_us = kStandBackUs;  // how long to, the next time
    bool turn_given = false;             // and not yet seen that another cluster has taken it
    int64 gap_us = 0;                    // when a gap was last left
    int64 idle_checked_us = 0;
};

// A lease that fell idle is released unless somebody has joined since; one that is given up for
// other reasons is released in any case, a shared one once nobody uses it.
enum class Keeper::Unless : uint8 { kWanted, kUsed, kNever };
// kWait: for an answer from Redis. kBusy: for others to let go, or another cluster's turn.
enum class Keeper::Step : uint8 { kHave, kNeed, kWait, kBusy };
enum class Keeper::Turn_ : uint8 { kOurs, kTheirs, kPollers, kAsk };

// Runs `body` with the entry's spinlock held: plain stores only.
template <typename Body>
void Locked(shared::LeaseEntry *entry, Body &&body) {
    SpinLockAcquire(&entry->mutex);
    body();
    SpinLockRelease(&entry->mutex);
}

// A consistent copy of the fields that decisions are made on.
struct View {
    shared::LeaseState state;
    uint32 interest;
    uint32 unflushed;
    uint32 holders;
    uint32 users;
    uint64 next_fence;
    int64 deadline_us;
    int64 tenure_start_us;
    int64 idle_since_us;
    int64 ttl_ms;
    int64 holder_since_us;
    int32 holder_pid;
    bool may_linger;
};
View ViewOf(shared::LeaseEntry *entry);

// Has one transaction had the key for longer than max_hold? Of a shared key: and is alone; where it
// is not known since when, time counts from when it was last seen not to be.
bool HeldTooLong(const View &view, int64 now_us);

// When a renewal that is due at `due_us` is sent: a little earlier, together with others.
int64 RenewalUs(int64 due_us, int64 ttl_ms);

}  // namespace inventory_lock::worker
