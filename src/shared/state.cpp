// Makes the shared state; see state.hpp. Runs in: the postmaster (hooks) and every process.

#include "shared/state.hpp"

#include "pg/settings.hpp"

namespace inventory_lock::shared {

namespace {

State *state = nullptr;
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

// Process numbers of backends and background workers lie below this; auxiliary processes, which
// never call us, above.
int SlotCount() {
    return MaxBackends;
}

Size SlotsOffset() {
    return CACHELINEALIGN(sizeof(State));
}
Size LeasesOffset() {
    return CACHELINEALIGN(add_size(SlotsOffset(), SlotArraySize(SlotCount())));
}
Size TotalSize() {
    return add_size(LeasesOffset(), LeaseTableSize(pg::settings::max_leases));
}

void InitState() {
    pg_atomic_init_u32(&state->worker.procno, static_cast<uint32>(-1));
    pg_atomic_init_u32(&state->worker.pid, 0);
    pg_atomic_init_u64(&state->worker.incarnation, 0);
    pg_atomic_init_u64(&state->worker.heartbeat_us, 0);
    SpinLockInit(&state->worker.mutex);
    pg_atomic_init_u32(&state->breaker.state, static_cast<uint32>(BreakerState::kClosed));
    pg_atomic_init_u32(&state->breaker.failures, 0);
    pg_atomic_init_u64(&state->breaker.changed_at, 0);
    InitCounters(&state->counters);
    InitKeySketch(&state->key_sketch);
    InitSoldOut(&state->sold_out);
    state->slots_offset = SlotsOffset();
    state->leases_offset = LeasesOffset();
    InitSlots(Slots(), SlotCount());
    InitLeaseTable(Leases(), pg::settings::max_leases);
}

extern "C" void RequestSharedMemory() {
    if (previous_request_hook != nullptr) {
        previous_request_hook();
    }
    RequestAddinShmemSpace(TotalSize());
    RequestNamedLWLockTranche("inventory_lock", kPartitions + 1);
}

extern "C" void MakeSharedMemory() {
    if (previous_startup_hook != nullptr) {
        previous_startup_hook();
    }
    state = nullptr;  // this may be a restart after a crash
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    state = static_cast<State *>(ShmemInitStruct("inventory_lock", TotalSize(), &found));
    if (!found) {
        memset(static_cast<void *>(state), 0, sizeof(State));
        InitState();
    }
    LWLockRelease(AddinShmemInitLock);
}

}  // namespace

State *Get() {
    return state;
}

void InstallHooks() {
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = RequestSharedMemory;
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = MakeSharedMemory;
}

void WakeWorker() {
    if (state == nullptr) {
        return;
    }
    const auto procno = static_cast<int32>(pg_atomic_read_u32(&state->worker.procno));
    if (procno >= 0) {
        WakeProcess(procno);
    }
}

void WakeProcess(int32 index) {
    SetLatch(&GetPGProcByNumber(index)->procLatch);
}

}  // namespace inventory_lock::shared
