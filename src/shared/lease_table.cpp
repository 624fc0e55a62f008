// The lease table's mechanics; the rules stand in lease_table.hpp.
// Runs in: backends and the worker.

#include "shared/lease_table.hpp"

extern "C" {
#include <common/hashfn.h>
#include <port/pg_bitutils.h>
}

namespace inventory_lock::shared {

namespace {

// What is above is some row's own business: it may not use up the numbers of all other keys.
constexpr uint64 kMaxFenceFloor = UINT64CONST(1) << 52;

void RaiseFenceFloor(LeaseTable *table, uint64 fence) {
    uint64 floor = pg_atomic_read_u64(&table->fence_floor);
    while (fence > floor && fence < kMaxFenceFloor &&
           !pg_atomic_compare_exchange_u64(&table->fence_floor, &floor, fence)) {
    }
}

LWLock *PartitionLock(LeaseTable *table, uint64 hash) {
    return &table->partitions[(hash & table->bucket_mask) % kPartitions].lock;
}

int32 *Bucket(LeaseTable *table, uint64 hash) {
    return &Buckets(table)[hash & table->bucket_mask];
}

int32 FindInBucket(LeaseTable *table, const char *key, size_t length, uint64 hash) {
    for (int32 index = *Bucket(table, hash); index >= 0; index = Entry(table, index)->next) {
        const LeaseEntry *entry = Entry(table, index);
        if (entry->hash == hash && entry->key_length == length &&
            memcmp(entry->key, key, length) == 0) {
            return index;
        }
    }
    return -1;
}

// Counts one more; false when the limit is reached.
bool AddInterest(LeaseEntry *entry, uint32 max_interest) {
    SpinLockAcquire(&entry->mutex);
    const bool room = max_interest == 0 || entry->interest < max_interest;
    if (room) {
        entry->interest++;
    }
    SpinLockRelease(&entry->mutex);
    return room;
}

int32 TakeFree(LeaseTable *table) {
    SpinLockAcquire(&table->free_mutex);
    const int32 index = table->free_head;
    if (index >= 0) {
        table->free_head = Entry(table, index)->next;
        table->used++;
    }
    SpinLockRelease(&table->free_mutex);
    return index;
}

void GiveFree(LeaseTable *table, int32 index) {
    LeaseEntry *entry = Entry(table, index);
    SpinLockAcquire(&table->free_mutex);
    entry->next = table->free_head;
    table->free_head = index;
    table->used--;
    SpinLockRelease(&table->free_mutex);
}

// Frees idle entries that nobody had the lock to free at the time. Called with no lock held.
bool ReclaimIdle(LeaseTable *table) {
    bool any = false;
    for (int32 index = 0; index < table->capacity; index++) {
        if (Entry(table, index)->key_length != 0) {
            any |= FreeIfIdle(table, index, true);
        }
    }
    return any;
}

bool IsIdle(LeaseEntry *entry) {
    SpinLockAcquire(&entry->mutex);
    const bool idle =
        entry->state == LeaseState::kAbsent && entry->interest == 0 && entry->unflushed == 0;
    SpinLockRelease(&entry->mutex);
    return idle;
}

// Under the entry's partition lock.
void Copy(LeaseEntry *entry, LeaseEntry *copy) {
    SpinLockAcquire(&entry->mutex);
    memcpy(static_cast<void *>(copy), entry, sizeof(*copy));
    SpinLockRelease(&entry->mutex);
}

}  // namespace

uint64 HashKey(std::string_view key) {
    return hash_bytes_extended(reinterpret_cast<const unsigned char *>(key.data()),
                               static_cast<int>(key.size()), 0);
}

LeaseEntry *Entry(LeaseTable *table, int32 index) {
    char *entries = reinterpret_cast<char *>(Buckets(table)) +
                    MAXALIGN(sizeof(int32) * (static_cast<Size>(table->bucket_mask) + 1));
    return reinterpret_cast<LeaseEntry *>(entries) + index;
}

Size LeaseTableSize(int capacity) {
    Size size = MAXALIGN(sizeof(LeaseTable));
    size = add_size(size, MAXALIGN(mul_size(sizeof(int32), pg_nextpower2_32(capacity))));
    return add_size(size, mul_size(sizeof(LeaseEntry), capacity));
}

void InitLeaseTable(LeaseTable *table, int capacity) {
    table->capacity = capacity;
    table->bucket_mask = pg_nextpower2_32(capacity) - 1;
    table->partitions = GetNamedLWLockTranche("inventory_lock");
    SpinLockInit(&table->free_mutex);
    table->free_head = 0;
    table->used = 0;
    pg_atomic_init_u64(&table->fence_floor, 0);
    InitWorkList(&table->work);
    for (uint32 bucket = 0; bucket <= table->bucket_mask; bucket++) {
        Buckets(table)[bucket] = -1;
    }
    for (int32 index = 0; index < capacity; index++) {
        LeaseEntry *entry = Entry(table, index);
        memset(static_cast<void *>(entry), 0, sizeof(*entry));
        SpinLockInit(&entry->mutex);
        InitWorkNode(&entry->work);
        entry->next = index + 1 < capacity ? index + 1 : -1;
    }
}

int32 Join(LeaseTable *table, const char *key, size_t length, uint64 key_hash, uint8 kind,
           LeaseMode mode, uint32 max_interest) {
    const uint64 hash = HashOfMode(key_hash, mode);
    LWLock *lock = PartitionLock(table, hash);
    LWLockAcquire(lock, LW_SHARED);
    int32 index = FindInBucket(table, key, length, hash);
    if (index >= 0) {
        const bool counted = AddInterest(Entry(table, index), max_interest);
        LWLockRelease(lock);
        return counted ? index : kTooMany;
    }
    LWLockRelease(lock);

    int32 fresh = TakeFree(table);
    if (fresh < 0) {
        fresh = ReclaimIdle(table) ? TakeFree(table) : -1;
        if (fresh < 0) {
            return kFull;
        }
    }
    LWLockAcquire(lock, LW_EXCLUSIVE);
    index = FindInBucket(table, key, length, hash);
    if (index >= 0) {  // somebody made it meanwhile
        const bool counted = AddInterest(Entry(table, index), max_interest);
        LWLockRelease(lock);
        GiveFree(table, fresh);
        return counted ? index : kTooMany;
    }
    LeaseEntry *entry = Entry(table, fresh);
    SpinLockAcquire(&entry->mutex);
    entry->state = LeaseState::kAbsent;
    entry->kind = kind;
    entry->mode = mode;
    entry->may_linger = false;
    entry->degraded = false;
    entry->lost_reason = LostReason::kNone;
    entry->interest = 1;
    entry->unflushed = 0;
    entry->holders = 0;
    entry->users = 0;
    entry->generation++;
    entry->adopted = 0;
    entry->next_fence = 1;
    entry->deadline_us = 0;
    entry->tenure_start_us = 0;
    entry->idle_since_us = 0;
    entry->ttl_ms = 0;
    entry->holder_pid = 0;
    entry->holder_since_us = 0;
    entry->holder_since = 0;
    entry->blocker.token[0] = '\0';
    entry->blocker.until_us = 0;
    entry->waited_for[0] = '\0';
    entry->token[0] = '\0';
    entry->prev[0] = '\0';
    SpinLockRelease(&entry->mutex);
    entry->hash = hash;
    memcpy(entry->key, key, length);
    entry->key[length] = '\0';
    pg_write_barrier();  // ForEachEntry: who sees a length sees the hash that it is of
    entry->key_length = static_cast<uint16>(length);
    int32 *bucket = Bucket(table, hash);
    entry->next = *bucket;
    *bucket = fresh;
    LWLockRelease(lock);
    return fresh;
}

bool Leave(LeaseTable *table, int32 index) {
    LeaseEntry *entry = Entry(table, index);
    const int64 now_us = pg::BootUs();
    SpinLockAcquire(&entry->mutex);
    Assert(entry->interest > 0);
    entry->interest--;
    const bool last = entry->interest == 0;
    const bool idle = last && entry->state == LeaseState::kAbsent && entry->unflushed == 0;
    const bool lingers =
        last && entry->state == LeaseState::kHeld && entry->may_linger && !Crowded(table);
    if (last) {
        entry->idle_since_us = now_us;
    }
    SpinLockRelease(&entry->mutex);
    if (!last || lingers) {
        return false;
    }
    if (idle && FreeIfIdle(table, index, false)) {
        return false;
    }
    Push(&table->work, &entry->work, static_cast<uint32>(index));
    return !idle;
}

bool Crowded(const LeaseTable *table) {
    return table->used > table->capacity / 2;
}

bool FreeIfIdle(LeaseTable *table, int32 index, bool wait) {
    LeaseEntry *entry = Entry(table, index);
    const uint64 hash = entry->hash;  // fixed while in the table; checked again below
    LWLock *lock = PartitionLock(table, hash);
    if (wait) {
        LWLockAcquire(lock, LW_EXCLUSIVE);
    } else if (!LWLockConditionalAcquire(lock, LW_EXCLUSIVE)) {
        return false;
    }
    int32 *link = Bucket(table, hash);
    while (*link >= 0 && *link != index) {
        link = &Entry(table, *link)->next;
    }
    const bool freed = *link == index && IsIdle(entry);
    if (freed) {
        RaiseFenceFloor(table, entry->next_fence - 1);  // before the key can be joined again
        *link = entry->next;
        entry->key_length = 0;
    }
    LWLockRelease(lock);
    if (freed) {
        GiveFree(table, index);
    }
    return freed;
}

int32 Find(LeaseTable *table, const char *key, size_t length, uint64 hash) {
    LWLock *lock = PartitionLock(table, hash);
    LWLockAcquire(lock, LW_SHARED);
    const int32 index = FindInBucket(table, key, length, hash);
    LWLockRelease(lock);
    return index;
}

bool Look(LeaseTable *table, const char *key, size_t length, uint64 hash, LeaseEntry *copy) {
    LWLock *lock = PartitionLock(table, hash);
    LWLockAcquire(lock, LW_SHARED);
    const int32 index = FindInBucket(table, key, length, hash);
    if (index >= 0) {
        Copy(Entry(table, index), copy);
    }
    LWLockRelease(lock);
    return index >= 0;
}

void ForEachEntry(LeaseTable *table, const std::function<void(int32, const LeaseEntry &)> &visit) {
    SpinLockAcquire(&table->free_mutex);
    const int32 used = table->used;
    SpinLockRelease(&table->free_mutex);
    int32 seen = 0;  // used entries stand in front: the rest of the table need not be touched
    for (int32 index = 0; index < table->capacity && seen < used; index++) {
        LeaseEntry *entry = Entry(table, index);
        if (entry->key_length == 0) {
            continue;
        }
        seen++;
        const uint64 hash = entry->hash;
        LWLock *lock = PartitionLock(table, hash);
        LWLockAcquire(lock, LW_SHARED);
        // It may be another key's by now, which is being written under another lock.
        bool same = entry->key_length != 0;
        pg_read_barrier();
        same = same && entry->hash == hash;
        LeaseEntry copy;
        if (same) {
            Copy(entry, &copy);
        }
        LWLockRelease(lock);
        if (same) {
            visit(index, copy);
        }
    }
}

}  // namespace inventory_lock::shared
