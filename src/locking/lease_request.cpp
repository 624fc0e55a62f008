// The backend's side of the mailbox; see lease_request.hpp. Runs in: backends.

#include "locking/lease_request.hpp"

#include "pg/clock.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

namespace inventory_lock::locking {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kStaleHeartbeatUs = 1000000;  // the worker turns its loop 5 times a second at least
                                              // while anybody waits
constexpr int64 kWorkerReturnsUs = 3000000;   // the postmaster starts another one within that
constexpr long kMaxSleepMs = 200;

shared::Slot *pending = nullptr;  // the slot while a request is under way
uint64 ahead = 0;                 // its number, when nobody waits for it yet

uint32 LeaseWaitEvent() {
    static uint32 event = 0;
    if (event == 0) {
        event = pg::NewWaitEvent("InventoryLockLease");
    }
    return event;
}

int64 LastHeartbeatUs() {
    return static_cast<int64>(pg_atomic_read_u64(&shared::Get()->worker.heartbeat_us));
}

enum class WaitEnd : uint8 { kAnswered, kOurLimit, kLockTimeout, kNoWorker };

// Waits until the request is answered. Plain data only: an ERROR may jump out.
WaitEnd WaitForAnswer(shared::Slot *slot, uint64 request, int64 our_limit_us,
                      int64 lock_timeout_us) {
    int64 no_worker_since_us = 0;
    for (;;) {
        if (pg_atomic_read_u64(&slot->word) ==
            shared::MakeWord(request, shared::SlotState::kAnswered)) {
            pg_read_barrier();
            return WaitEnd::kAnswered;
        }
        const int64 now_us = pg::BootUs();
        if (now_us >= our_limit_us) {
            return WaitEnd::kOurLimit;
        }
        if (now_us >= lock_timeout_us) {
            return WaitEnd::kLockTimeout;
        }
        if (WorkerServes()) {
            no_worker_since_us = 0;
        } else if (no_worker_since_us == 0) {
            no_worker_since_us = now_us;
        } else if (now_us - no_worker_since_us >
                       pg::settings::redis_command_timeout_ms * kUsPerMs &&
                   now_us - LastHeartbeatUs() > kWorkerReturnsUs) {
            return WaitEnd::kNoWorker;
        }
        const int64 limit_us = std::min(our_limit_us, lock_timeout_us);
        const int64 left_ms = (limit_us - now_us + kUsPerMs - 1) / kUsPerMs;
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                        static_cast<long>(std::min<int64>(left_ms, kMaxSleepMs)), LeaseWaitEvent());
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

shared::Slot *OwnSlot() {
    shared::SlotArray *slots = shared::Slots();
    const int32 index = pg::MyProcIndex();
    return index >= 0 && index < slots->count ? shared::SlotAt(slots, index) : nullptr;
}

// Publishes a request in the slot, which nothing is pending in. Returns its number.
uint64 FillSlot(shared::Slot *slot, shared::Operation operation, const std::vector<int32> &entries,
                bool no_wait, uint64 raise_above) {
    Assert(entries.empty() == (operation == shared::Operation::kForeign) &&
           entries.size() <= shared::kMaxKeysPerRequest);
    slot->operation = operation;
    slot->no_wait = no_wait;
    slot->count = static_cast<uint32>(entries.size());
    slot->raise_above = raise_above;
    for (size_t i = 0; i < entries.size(); i++) {
        slot->entries[i] = static_cast<uint32>(entries[i]);
    }
    slot->outcome = shared::Outcome::kNone;
    pending = slot;
    IL_INJECT("request-written");
    const uint64 request = shared::Fill(shared::Slots(), pg::MyProcIndex());
    shared::WakeWorker();
    return request;
}

}  // namespace

bool WorkerServes() {
    const shared::State *state = shared::Get();
    if (static_cast<int32>(
            pg_atomic_read_u32(const_cast<pg_atomic_uint32 *>(&state->worker.procno))) < 0) {
        return false;
    }
    return pg::BootUs() - LastHeartbeatUs() < kStaleHeartbeatUs;
}

LeaseAnswer AskWorker(shared::Operation operation, const std::vector<int32> &entries, bool no_wait,
                      uint64 raise_above, WaitBudget &budget) {
    uint64 request = operation == shared::Operation::kAcquire && !no_wait && IsAskedAhead(entries)
                         ? std::exchange(ahead, 0)
                         : 0;
    if (request == 0) {
        AbandonRequest();
    }
    shared::Slot *slot = OwnSlot();
    if (slot == nullptr) {
        return {};
    }
    const int64 started_us = pg::BootUs();
    const int64 left_ms = budget.no_wait() ? INT64_MAX : budget.LeftMs();
    const int64 our_limit_us =
        left_ms > INT64_MAX / 2 / kUsPerMs ? INT64_MAX : started_us + left_ms * kUsPerMs;
    const int64 lock_timeout_us =
        LockTimeout > 0 ? started_us + static_cast<int64>(LockTimeout) * kUsPerMs : INT64_MAX;

    if (request == 0) {
        request = FillSlot(slot, operation, entries, no_wait, raise_above);
    }
    IL_INJECT("request-filled");
    const WaitEnd end =
        pg::Call([&] { return WaitForAnswer(slot, request, our_limit_us, lock_timeout_us); });

    IL_INJECT("request-ended");
    LeaseAnswer answer;
    // The answer may have come since the wait ended: take it then, whatever ended the wait.
    if (end == WaitEnd::kAnswered || pg_atomic_read_u64(&slot->word) ==
                                         shared::MakeWord(request, shared::SlotState::kAnswered)) {
        pg_read_barrier();
        answer.outcome = slot->outcome;
        answer.blocked_entry = slot->blocked_entry;
        answer.fence = slot->fence;
    } else if (end == WaitEnd::kOurLimit) {
        answer.timed_out = true;
    }
    AbandonRequest();
    budget.AddWaited(pg::BootUs() - started_us);
    if (end == WaitEnd::kLockTimeout && answer.outcome == shared::Outcome::kUnavailable) {
        throw pg::SqlError(ERRCODE_LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout");
    }
    return answer;
}

void AskAhead(const std::vector<int32> &entries) {
    AbandonRequest();
    if (shared::Slot *slot = OwnSlot()) {
        ahead = FillSlot(slot, shared::Operation::kAcquire, entries, false, 0);
    }
}

bool IsAskedAhead(const std::vector<int32> &entries) {
    return ahead != 0 && pending->count == entries.size() &&
           std::equal(entries.begin(), entries.end(), pending->entries,
                      [](int32 a, uint32 b) { return static_cast<uint32>(a) == b; });
}

void AbandonRequest() {
    ahead = 0;
    if (pending != nullptr) {
        shared::Abandon(pending);
        pending = nullptr;
    }
}

}  // namespace inventory_lock::locking
