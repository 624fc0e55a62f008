// The slots' mechanics; the protocol stands in slot.hpp. Runs in: backends and the worker.

#include "shared/slot.hpp"

namespace inventory_lock::shared {

Size SlotArraySize(int count) {
    return add_size(MAXALIGN(sizeof(SlotArray)), mul_size(sizeof(Slot), count));
}

void InitSlots(SlotArray *slots, int count) {
    slots->count = count;
    InitWorkList(&slots->filled);
    pg_atomic_init_u32(&slots->waiting, 0);
    pg_atomic_init_u64(&slots->wait_ids, 0);
    for (int32 index = 0; index < count; index++) {
        Slot *slot = SlotAt(slots, index);
        pg_atomic_init_u64(&slot->word, MakeWord(0, SlotState::kFree));
        pg_atomic_init_u32(&slot->wait.kind, static_cast<uint32>(WaitKind::kNone));
        pg_atomic_init_u64(&slot->wait.id, 0);
        InitWorkNode(&slot->work);
    }
}

uint64 Fill(SlotArray *slots, int32 index) {
    Slot *slot = SlotAt(slots, index);
    const uint64 request = RequestOf(pg_atomic_read_u64(&slot->word)) + 1;
    pg_write_barrier();  // the payload before the word
    pg_atomic_write_u64(&slot->word, MakeWord(request, SlotState::kFilled));
    pg_memory_barrier();  // the word before the list
    Push(&slots->filled, &slot->work, static_cast<uint32>(index));
    return request;
}

void BeginWait(SlotArray *slots, int32 index, WaitKind kind, uint32 wanted, const uint32 *held,
               uint32 held_count, uint64 fence) {
    WaitRecord *record = &SlotAt(slots, index)->wait;
    pg_atomic_write_u64(&record->id, pg_atomic_add_fetch_u64(&slots->wait_ids, 1));
    pg_write_barrier();  // who reads the fields of two waits sees two ids
    record->wanted = wanted;
    record->held_count = std::min(held_count, kMaxHeldTold);
    record->fence = fence;
    memcpy(record->held, held, sizeof(uint32) * record->held_count);
    pg_write_barrier();
    if (pg_atomic_exchange_u32(&record->kind, static_cast<uint32>(kind)) ==
        static_cast<uint32>(WaitKind::kNone)) {
        pg_atomic_fetch_add_u32(&slots->waiting, 1);
    }
}

void EndWait(SlotArray *slots, int32 index) {
    WaitRecord *record = &SlotAt(slots, index)->wait;
    if (pg_atomic_exchange_u32(&record->kind, static_cast<uint32>(WaitKind::kNone)) !=
        static_cast<uint32>(WaitKind::kNone)) {
        pg_atomic_fetch_sub_u32(&slots->waiting, 1);
    }
}

bool IsTaken(Slot *slot, uint64 request) {
    return pg_atomic_read_u64(&slot->word) == MakeWord(request, SlotState::kTaken);
}

bool Answer(Slot *slot, uint64 request, Outcome outcome, uint32 blocked_entry, uint64 fence) {
    if (!IsTaken(slot, request)) {
        return false;
    }
    slot->outcome = outcome;
    slot->blocked_entry = blocked_entry;
    slot->fence = fence;
    pg_write_barrier();
    return Advance(slot, request, SlotState::kTaken, SlotState::kAnswered);
}

void Abandon(Slot *slot) {
    uint64 word = pg_atomic_read_u64(&slot->word);
    for (;;) {
        const SlotState state = StateOf(word);
        if (state == SlotState::kFree || state == SlotState::kAbandoned) {
            return;
        }
        const SlotState to =
            state == SlotState::kAnswered ? SlotState::kFree : SlotState::kAbandoned;
        if (pg_atomic_compare_exchange_u64(&slot->word, &word, MakeWord(RequestOf(word), to))) {
            return;
        }
    }
}

}  // namespace inventory_lock::shared
