// The hint that something is sold out; see sold_out.hpp. Runs in: backends.

#include "shared/sold_out.hpp"

#include "shared/state.hpp"

namespace inventory_lock::shared {

namespace {

pg_atomic_uint64 *Place(uint64 hash) {
    return &Get()->sold_out.hashes[hash & (kSoldOutPlaces - 1)];
}

}  // namespace

void InitSoldOut(SoldOut *table) {
    for (pg_atomic_uint64 &hash : table->hashes) {
        pg_atomic_init_u64(&hash, 0);
    }
}

void NoteSoldOut(uint64 hash) {
    if (Get() != nullptr) {
        pg_atomic_write_u64(Place(hash), hash);
    }
}

void NoteInStock(uint64 hash) {
    if (LatelySoldOut(hash)) {
        pg_atomic_write_u64(Place(hash), 0);
    }
}

bool LatelySoldOut(uint64 hash) {
    return Get() != nullptr && pg_atomic_read_u64(Place(hash)) == hash;
}

}  // namespace inventory_lock::shared
