// Recording waits; see wait_record.hpp. Runs in: backends.

#include "locking/wait_record.hpp"

#include "locking/hold_set.hpp"
#include "shared/state.hpp"

namespace inventory_lock::locking {

ScopedWaitRecord::ScopedWaitRecord(shared::WaitKind kind, int32 wanted) {
    if (shared::Get() == nullptr || wanted < 0) {
        return;
    }
    uint32 held[shared::kMaxHeldTold];
    uint32 count = 0;
    uint64 fence = 0;
    for (const Hold *hold = HoldSet::begin(); hold != HoldSet::end(); hold++) {
        if (hold->leased && !hold->ending && hold->entry >= 0) {
            fence = std::max(fence, hold->fence);
            if (count < shared::kMaxHeldTold) {
                held[count++] = static_cast<uint32>(hold->entry);
            }
        }
    }
    if (count > 0) {
        shared::BeginWait(shared::Slots(), pg::MyProcIndex(), kind, static_cast<uint32>(wanted),
                          held, count, fence);
        shared::WakeWorker();  // it may sleep for long when nobody waits
    }
}

ScopedWaitRecord::~ScopedWaitRecord() {
    ClearWaitRecord();
}

void ClearWaitRecord() {
    if (shared::Get() != nullptr && MyProc != nullptr &&
        pg::MyProcIndex() < shared::Slots()->count) {
        shared::EndWait(shared::Slots(), pg::MyProcIndex());
    }
}

}  // namespace inventory_lock::locking
