// A lock-free list of numbered things that the worker should look at.
//
// Runs in: backends push, the worker takes everything. A Treiber stack without pop: TakeAll()
// swaps the head for "empty", so the ABA problem does not arise. Each thing is in the list at most
// once: its node's `queued` is 1 from the push until the worker has taken it off. The worker
// clears `queued` *before* it reads the thing's state, so a change made after the push it saw is
// pushed again. What it has taken and not yet taken off stays in shared memory as well, for the
// next worker: forgotten there, it would be `queued` for ever and never pushed again. Plain shared
// memory, no pointers; a process can die anywhere outside these functions, and only SIGKILL can end
// it inside, after which PostgreSQL rebuilds all shared memory.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::shared {

struct WorkNode {
    pg_atomic_uint32 queued;  // 1 while in a list; atomic
    uint32 next;              // number + 1 of the next thing, 0 = last; owned by the pusher, then
                              // by the worker (handed over by the head's compare-exchange)
};

struct WorkList {
    pg_atomic_uint32 head;  // number + 1 of the thing pushed last, 0 = empty
    uint32 taken;           // the same of what the worker has taken; its own
};

inline void InitWorkList(WorkList *list) {
    pg_atomic_init_u32(&list->head, 0);
    list->taken = 0;
}

inline void InitWorkNode(WorkNode *node) {
    pg_atomic_init_u32(&node->queued, 0);
    node->next = 0;
}

// Puts thing `number` with node `node` into the list, unless it is there. Never waits or raises.
inline void Push(WorkList *list, WorkNode *node, uint32 number) {
    if (pg_atomic_exchange_u32(&node->queued, 1) == 1) {
        return;
    }
    uint32 head = pg_atomic_read_u32(&list->head);
    do {
        node->next = head;
    } while (!pg_atomic_compare_exchange_u32(&list->head, &head, number + 1));
}

// Takes the whole list, unless something of an earlier one is left. Number + 1 of the thing to look
// at next, 0 = none.
inline uint32 TakeAll(WorkList *list) {
    if (list->taken == 0) {
        list->taken = pg_atomic_exchange_u32(&list->head, 0);
    }
    return list->taken;
}

// Takes the next thing, whose node this is, off what has been taken; before its state is read.
// Number + 1 of the one behind it.
inline uint32 TakeOff(WorkList *list, WorkNode *node) {
    list->taken = node->next;
    pg_atomic_exchange_u32(&node->queued, 0);
    return list->taken;
}

}  // namespace inventory_lock::shared
