// The slots' mechanics; the protocol stands in slot.hpp. Runs in: backends and the worker.

#include "shared/slot.hpp"

namespace inventory_lock::shared {

Size SlotArraySize(int count) {
    return add_size(MAXALIGN(sizeof(SlotArray)), mul_size(sizeof(Slot), count));
}

void InitSlots(SlotArray *slots, int count) {
    slots->count = count;
    pg_atomic_init_u32(&slots->filled.head, 0);
    for (int32 index = 0; index < count; index++) {
        Slot *slot = SlotAt(slots, index);
        pg_atomic_init_u64(&slot->word, MakeWord(0, SlotState::kFree));
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
