// Takes and drops gates; see gate.hpp. Runs in: backends.

#include "locking/gate.hpp"

#include "locking/lock_timeout.hpp"
#include "locking/wait_record.hpp"
#include "pg/clock.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <storage/lmgr.h>
#include <storage/lock.h>
#include <utils/resowner.h>
}

namespace inventory_lock::locking {

namespace {

constexpr uint16 kGateClass = 0x494C;  // "IL"; core uses 1 and 2, Citus 4 to 12

LOCKTAG GateTag(uint64 hash) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, 0, static_cast<uint32>(hash >> 32), static_cast<uint32>(hash),
                         kGateClass);
    return tag;
}

// Locks under the transaction's own resource owner: under a cursor's, the gate would outlive or
// predecease its hold. Plain stores only, so that unwinding restores what was there.
class TransactionOwner final {
  public:
    TransactionOwner() : saved_(CurrentResourceOwner) {
        CurrentResourceOwner = CurTransactionResourceOwner;
    }
    ~TransactionOwner() { CurrentResourceOwner = saved_; }
    TransactionOwner(const TransactionOwner &) = delete;
    TransactionOwner &operator=(const TransactionOwner &) = delete;

  private:
    ResourceOwner saved_;
};

LOCKMODE ModeOf(const Hold &hold) {
    return hold.mode == LockMode::kIntent ? RowExclusiveLock : ExclusiveLock;
}

bool TryGate(const LOCKTAG &tag, LOCKMODE mode) {
    return pg::Call([&] { return LockAcquire(&tag, mode, false, true); }) != LOCKACQUIRE_NOT_AVAIL;
}

void CountGateWait(LockKind kind, shared::Ended ended, int64 us) {
    if (pg::settings::track_wait_timing) {
        shared::CountWait(static_cast<uint8>(kind), shared::Wait::kGate, ended, us);
    }
}

// Somebody else of this server has the key or wants it: a hint, which saves an attempt that could
// only fail, and the lock table's partition lock for it.
bool IsWanted(int32 index) {
    if (index < 0) {
        return false;
    }
    shared::LeaseEntry *entry = shared::Entry(shared::Leases(), index);
    SpinLockAcquire(&entry->mutex);
    const bool wanted = entry->interest > 1;
    SpinLockRelease(&entry->mutex);
    return wanted;
}

// Somebody else had the gate.
void CountQueueing(LockKind kind, int32 entry, shared::Ended ended, int64 us) {
    CountGateWait(kind, ended, us);
    if (entry >= 0) {
        shared::NoteKeyWait(*shared::Entry(shared::Leases(), entry), ended, us);
    }
}

}  // namespace

GateResult TakeGate(const Hold &hold, WaitBudget &budget) {
    const LOCKTAG tag = GateTag(hold.hash);
    const LOCKMODE mode = ModeOf(hold);
    const LockKind kind = hold.kind;
    const int32 entry = hold.entry;
    TransactionOwner owner;
    const int64 left_ms = budget.LeftMs();
    if ((left_ms == 0 || !IsWanted(entry)) && TryGate(tag, mode)) {
        CountGateWait(kind, shared::Ended::kGot, 0);
        return GateResult::kGot;
    }
    if (left_ms == 0) {
        return budget.no_wait() ? GateResult::kBusy : GateResult::kTimedOut;
    }
    const ScopedWaitLimit limit(budget);
    const int64 started_us = pg::BootUs();
    try {
        ScopedWaitRecord record(shared::WaitKind::kGate, entry);
        IL_INJECT("gate-waiting");
        pg::Call([&] { (void)LockAcquire(&tag, mode, false, false); });
    } catch (const pg::PgError &error) {
        const int64 waited_us = pg::BootUs() - started_us;
        budget.AddWaited(waited_us);
        const bool timed_out =
            error.edata != nullptr && error.edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
        CountQueueing(kind, entry, timed_out ? shared::Ended::kTimedOut : shared::Ended::kCancelled,
                      waited_us);
        if (timed_out && limit.IsOver()) {
            return GateResult::kTimedOut;  // the caller raises in PostgreSQL's stead
        }
        shared::Count(static_cast<uint8>(kind),
                      timed_out ? shared::Counter::kTimedOut : shared::Counter::kCancelled);
        throw;
    }
    const int64 waited_us = pg::BootUs() - started_us;
    IL_INJECT("gate-waited");
    budget.AddWaited(waited_us);
    CountQueueing(kind, entry, shared::Ended::kGot, waited_us);
    return GateResult::kGot;
}

void DropGate(const Hold &hold) {
    const LOCKTAG tag = GateTag(hold.hash);
    const LOCKMODE mode = ModeOf(hold);
    TransactionOwner owner;
    pg::Call([&] { (void)LockRelease(&tag, mode, false); });
}

}  // namespace inventory_lock::locking
