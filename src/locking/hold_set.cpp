// The array of holds; see hold_set.hpp. Runs in: backends.

#include "locking/hold_set.hpp"

namespace inventory_lock::locking {

namespace {

Hold *holds = nullptr;
uint64 *hashes = nullptr;  // of the holds, close together: Find() reads nothing else of most
size_t count = 0;
size_t capacity = 0;

// Where the holds of a large transaction stand, by hash: open addressing, twice as many places as
// holds, 0 = free, else a hold's number plus one. Holds before `indexed` are in it; it is begun
// anew after a hold has gone.
constexpr size_t kFewHolds = 32;  // are looked through
uint32 *places = nullptr;
size_t indexed = 0;

size_t PlaceOf(uint64 hash) {
    return static_cast<size_t>(hash % (capacity * 2));
}

void IndexHolds() {
    if (indexed == 0) {
        memset(places, 0, capacity * 2 * sizeof(uint32));
    }
    for (; indexed < count; indexed++) {
        size_t place = PlaceOf(hashes[indexed]);
        while (places[place] != 0) {
            place = (place + 1) % (capacity * 2);
        }
        places[place] = static_cast<uint32>(indexed + 1);
    }
}

bool IsOf(const Hold &hold, const std::string &key, LockMode mode) {
    return !hold.ending && hold.mode == mode && hold.key_length == key.size() &&
           memcmp(hold.key, key.data(), key.size()) == 0;
}

}  // namespace

void HoldSet::Reserve(size_t more) {
    if (count + more <= capacity) {
        return;
    }
    const size_t wanted = std::max(count + more, std::max<size_t>(16, capacity * 2));
    holds = pg::Call([&] {
        const Size bytes = mul_size(sizeof(Hold), wanted);
        return static_cast<Hold *>(holds == nullptr ? MemoryContextAlloc(TopMemoryContext, bytes)
                                                    : repalloc(holds, bytes));
    });
    hashes = pg::Call([&] {
        const Size bytes = mul_size(sizeof(uint64), wanted);
        return static_cast<uint64 *>(hashes == nullptr ? MemoryContextAlloc(TopMemoryContext, bytes)
                                                       : repalloc(hashes, bytes));
    });
    places = pg::Call([&] {
        const Size bytes = mul_size(sizeof(uint32) * 2, wanted);
        return static_cast<uint32 *>(places == nullptr ? MemoryContextAlloc(TopMemoryContext, bytes)
                                                       : repalloc(places, bytes));
    });
    capacity = wanted;
    indexed = 0;
}

Hold *HoldSet::Add(const std::string &key, uint64 hash, LockKind kind, LockMode mode) {
    Assert(count < capacity && key.size() < kHoldKeyBytes);
    hashes[count] = hash;
    Hold *hold = &holds[count++];
    memset(static_cast<void *>(hold), 0, offsetof(Hold, key));
    hold->hash = hash;
    hold->entry = -1;
    hold->level = GetCurrentTransactionNestLevel();
    hold->kind = kind;
    hold->mode = mode;
    hold->key_length = static_cast<uint16>(key.size());
    memcpy(hold->key, key.data(), key.size());
    hold->key[key.size()] = '\0';
    return hold;
}

void HoldSet::RemoveLast() {
    count--;
    indexed = indexed > count ? 0 : indexed;
}

Hold *HoldSet::Find(const std::string &key, uint64 hash, LockMode mode) {
    if (count <= kFewHolds) {
        for (size_t i = 0; i < count; i++) {
            if (hashes[i] == hash && IsOf(holds[i], key, mode)) {
                return &holds[i];
            }
        }
        return nullptr;
    }
    IndexHolds();
    for (size_t place = PlaceOf(hash); places[place] != 0; place = (place + 1) % (capacity * 2)) {
        const size_t i = places[place] - 1;
        if (hashes[i] == hash && IsOf(holds[i], key, mode)) {
            return &holds[i];
        }
    }
    return nullptr;
}

size_t HoldSet::size() {
    return count;
}
Hold *HoldSet::begin() {
    return holds;
}
Hold *HoldSet::end() {
    return holds + count;
}

void HoldSet::Sweep() {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!holds[i].ending) {
            if (kept != i) {
                holds[kept] = holds[i];
                hashes[kept] = hashes[i];
            }
            kept++;
        }
    }
    count = kept;
    indexed = 0;
}

}  // namespace inventory_lock::locking
