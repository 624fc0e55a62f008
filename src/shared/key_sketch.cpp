// Counting waits per key; see key_sketch.hpp. Runs in: backends.

#include "shared/key_sketch.hpp"

#include "shared/state.hpp"

namespace inventory_lock::shared {

namespace {

// The key's place in its part, or the one it takes from the least counted.
KeyWaits *PlaceOf(SketchPart *part, const LeaseEntry &entry) {
    for (int i = 0; i < kSketchPlaces; i++) {
        KeyWaits *place = &part->places[i];
        if (part->hashes[i] == entry.hash && place->key_length == entry.key_length &&
            memcmp(place->key, entry.key, entry.key_length) == 0) {
            return place;
        }
    }
    int least = 0;
    for (int i = 1; i < kSketchPlaces && part->places[least].key_length != 0; i++) {
        if (part->places[i].key_length == 0 || part->places[i].waits < part->places[least].waits) {
            least = i;
        }
    }
    KeyWaits *place = &part->places[least];
    part->hashes[least] = entry.hash;
    place->error = place->waits;
    place->timed_out = 0;
    place->cancelled = 0;
    place->wait_us = 0;
    place->longest_us = 0;
    place->kind = entry.kind;
    place->key_length = entry.key_length;
    memcpy(place->key, entry.key, sizeof(place->key));
    return place;
}

void Empty(SketchPart *part) {
    memset(part->hashes, 0, sizeof(part->hashes));
    memset(static_cast<void *>(part->places), 0, sizeof(part->places));
}

}  // namespace

void InitKeySketch(KeySketch *sketch) {
    for (SketchPart &part : sketch->parts) {
        SpinLockInit(&part.mutex);
        Empty(&part);
    }
}

void ResetKeySketch(KeySketch *sketch) {
    for (SketchPart &part : sketch->parts) {
        SpinLockAcquire(&part.mutex);
        Empty(&part);
        SpinLockRelease(&part.mutex);
    }
}

void NoteKeyWait(const LeaseEntry &entry, Ended ended, int64 us) {
    const uint64 value = us > 0 ? static_cast<uint64>(us) : 0;
    SketchPart *part = &Get()->key_sketch.parts[(entry.hash >> 32) % kSketchParts];
    SpinLockAcquire(&part->mutex);
    KeyWaits *place = PlaceOf(part, entry);
    place->waits++;
    place->timed_out += ended == Ended::kTimedOut ? 1 : 0;
    place->cancelled += ended == Ended::kCancelled ? 1 : 0;
    place->wait_us += value;
    place->longest_us = std::max(place->longest_us, value);
    SpinLockRelease(&part->mutex);
}

void ForEachKeyWaits(KeySketch *sketch, const std::function<void(const KeyWaits &)> &visit) {
    for (SketchPart &part : sketch->parts) {
        for (KeyWaits &place : part.places) {
            KeyWaits copy;
            SpinLockAcquire(&part.mutex);
            memcpy(static_cast<void *>(&copy), &place, sizeof(copy));
            SpinLockRelease(&part.mutex);
            if (copy.key_length != 0) {
                visit(copy);
            }
        }
    }
}

}  // namespace inventory_lock::shared
