// The ends of transactions; see transaction_end.hpp. Runs in: backends.

#include "locking/transaction_end.hpp"

#include "locking/hold_check.hpp"
#include "locking/hold_set.hpp"
#include "locking/lease_request.hpp"
#include "locking/wait_record.hpp"
#include "pg/clock.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "shared/state.hpp"

extern "C" {
#include <access/transam.h>
#include <access/xlog.h>
#include <replication/syncrep.h>
#include <utils/resowner.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::locking {

namespace {

bool armed = false;  // holds are ending; the next AFTER_LOCKS works them off
bool early_release_asked = false;
bool early_release_armed = false;  // this transaction commits asynchronously and flushes later
bool early_release_xid = false;    // it has a transaction id, so a synchronous standby waits too
int saved_synchronous_commit = 0;
bool warned = false;
bool exit_callback_registered = false;

void RestoreSynchronousCommit() {
    if (early_release_armed) {
        synchronous_commit = saved_synchronous_commit;
    }
}

// Takes one hold off the lease table. True when the worker has work.
bool LetGo(Hold *hold, int64 now_us) {
    if (hold->entry < 0) {
        return false;
    }
    shared::LeaseTable *table = shared::Leases();
    shared::LeaseEntry *entry = shared::Entry(table, hold->entry);
    const bool several = entry->mode == shared::LeaseMode::kIntent;
    const TimestampTz now = several ? GetCurrentTimestamp() : 0;
    SpinLockAcquire(&entry->mutex);
    if (hold->unflushed) {
        entry->unflushed--;
    }
    if (hold->leased && hold->generation == entry->generation) {
        entry->holders--;
    }
    if (hold->since_us != 0) {
        entry->users--;
        // Who of several is left came before now.
        if (several && (entry->holder_pid == MyProcPid || entry->holder_pid == 0)) {
            entry->holder_since_us = now_us;
            entry->holder_since = now;
        }
        if (entry->holder_pid == MyProcPid) {
            entry->holder_pid = 0;
            entry->degraded = false;
        }
    }
    SpinLockRelease(&entry->mutex);
    if (hold->since_us != 0 && pg::settings::track_wait_timing) {
        shared::CountWait(static_cast<uint8>(hold->kind), shared::Wait::kHold, shared::Ended::kGot,
                          now_us - hold->since_us);
    }
    const bool work = shared::Leave(table, hold->entry);
    hold->entry = -1;
    return work;
}

void LetGoOfEnding() {
    const int64 now_us = pg::BootUs();
    bool work = false;
    for (Hold *hold = HoldSet::begin(); hold != HoldSet::end(); hold++) {
        if (hold->ending) {
            work |= LetGo(hold, now_us);
        }
    }
    HoldSet::Sweep();
    IL_INJECT("interest-dropped");
    if (work) {
        shared::WakeWorker();
    }
}

void MarkEnding(int min_level) {
    for (Hold *hold = HoldSet::begin(); hold != HoldSet::end(); hold++) {
        if (hold->level >= min_level) {
            hold->ending = true;
            armed = true;
        }
    }
}

// The commit is visible when AFTER_LOCKS comes, but its flush is ours to do: no release until then.
void MarkUnflushed() {
    for (Hold *hold = HoldSet::begin(); hold != HoldSet::end(); hold++) {
        if (hold->entry >= 0) {
            shared::LeaseEntry *entry = shared::Entry(shared::Leases(), hold->entry);
            SpinLockAcquire(&entry->mutex);
            entry->unflushed++;
            SpinLockRelease(&entry->mutex);
            hold->unflushed = true;
        }
    }
}

void Flush() {
    START_CRIT_SECTION();  // a failure must not look like an abort of what is committed
    XLogFlush(XactLastCommitEnd);
    END_CRIT_SECTION();
    IL_INJECT("flushed-here");
    if (early_release_xid) {
        SyncRepWaitForLSN(XactLastCommitEnd, true);
    }
}

void BeforeCommit() {
    IL_INJECT("before-commit-check");
    VerifyHolds(true);
    IL_INJECT("after-commit-check");
    // Last, so that nothing can raise between changing the variable and the commit record. The
    // variable itself is set: the setting's assign hook would break synchronous replication.
    if (early_release_asked && HoldSet::size() > 0 && !early_release_armed &&
        synchronous_commit > SYNCHRONOUS_COMMIT_OFF) {
        saved_synchronous_commit = synchronous_commit;
        early_release_armed = true;
        synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
    }
    IL_INJECT("committing");
}

void EndOfTransaction() {
    early_release_asked = false;
    warned = false;
}

// Most transactions hold nothing, and no test is about their ends.
void InjectIfHolding([[maybe_unused]] const char *name) {
    if (HoldSet::size() > 0) {
        IL_INJECT(name);
    }
}

extern "C" void OnTransaction(XactEvent event, void *) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
            if (HoldSet::size() > 0) {
                pg::Boundary([] { BeforeCommit(); });
            }
            break;
        case XACT_EVENT_PRE_PREPARE:
            if (HoldSet::size() > 0) {
                ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                                errmsg("cannot PREPARE a transaction that holds inventory locks")));
            }
            break;
        case XACT_EVENT_COMMIT:
            InjectIfHolding("visible");
            RestoreSynchronousCommit();
            if (early_release_armed) {
                // Only now: a NOTIFY gets its transaction id after PRE_COMMIT.
                early_release_xid = TransactionIdIsValid(GetTopTransactionIdIfAny());
                MarkUnflushed();
            }
            MarkEnding(0);
            InjectIfHolding("gate-going");
            EndOfTransaction();
            break;
        case XACT_EVENT_ABORT:
            InjectIfHolding("aborting");
            RestoreSynchronousCommit();
            early_release_armed = early_release_armed && armed;  // aborted before the commit record
            AbandonRequest();
            MarkEnding(0);
            EndOfTransaction();
            break;
        case XACT_EVENT_PREPARE:
            EndOfTransaction();
            break;
        case XACT_EVENT_PARALLEL_COMMIT:
        case XACT_EVENT_PARALLEL_ABORT:
        case XACT_EVENT_PARALLEL_PRE_COMMIT:
            break;
    }
}

extern "C" void OnSubtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    const int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        InjectIfHolding("savepoint-aborting");
        AbandonRequest();
        MarkEnding(level);
    } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
        for (Hold *hold = HoldSet::begin(); hold != HoldSet::end(); hold++) {
            hold->level = std::min(hold->level, level - 1);
        }
    }
}

extern "C" void OnResourceRelease(ResourceReleasePhase phase, bool, bool, void *) {
    if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !armed) {
        return;
    }
    armed = false;
    IL_INJECT("gate-gone");
    if (early_release_armed) {
        early_release_armed = false;
        IL_INJECT("flushing");
        Flush();
        IL_INJECT("flushed");
    }
    IL_INJECT("letting-go");
    LetGoOfEnding();
    IL_INJECT("let-go");
}

extern "C" void OnExit(int, Datum) {
    IL_INJECT("exiting");
    ClearWaitRecord();
    AbandonRequest();
    MarkEnding(0);
    armed = false;
    LetGoOfEnding();
}

}  // namespace

void InstallTransactionCallbacks() {
    RegisterXactCallback(OnTransaction, nullptr);
    RegisterSubXactCallback(OnSubtransaction, nullptr);
    RegisterResourceReleaseCallback(OnResourceRelease, nullptr);
}

void EnsureExitCallback() {
    if (!exit_callback_registered) {
        pg::Call([] { on_shmem_exit(OnExit, 0); });
        exit_callback_registered = true;
    }
}

void NoteEarlyRelease() {
    early_release_asked = true;
}

bool FirstWarningOfTransaction() {
    const bool first = !warned;
    warned = true;
    return first;
}

}  // namespace inventory_lock::locking
