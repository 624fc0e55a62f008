// The instance file: who this cluster is in Redis, and what a crash leaves there.
//
// Runs in: the worker. pg_stat_tmp/inventory_lock.leases, memory-mapped. The header names the
// instance and what it belongs to: machine, kernel boot, data directory, and the file's own device
// and inode. The body has one record per lease entry: key and tokens, written *before* a request
// that may set the key is sent. The file survives an immediate stop and kill −9, and is in no base
// backup. At a new life of the server a file that belongs here is worked off (the tokens of the
// dead boot are compare-and-deleted) and its instance is kept; any other file is discarded and a
// new instance minted: a clone or a promoted standby must never free what the original holds.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::worker {

struct Orphan {
    std::string key;
    std::string token;
};

class Journal final {
  public:
    Journal() = default;
    ~Journal();
    Journal(const Journal &) = delete;
    Journal &operator=(const Journal &) = delete;

    // Maps the file with room for `records`. `same_life`: the server did not restart, only the
    // worker; records stand for what shared memory knows. Otherwise the records of the dead boot
    // are returned and the file is begun anew. Never throws for trouble with the file: then there
    // is a fresh instance and nothing is recorded (LOG line).
    std::vector<Orphan> Open(int records, bool same_life);

    // This cluster's id in tokens: 16 hexadecimal digits.
    const std::string &instance() const { return instance_; }

    // Before sending: entry `index` may be in Redis under these tokens.
    void Write(int index, std::string_view key, std::string_view token, std::string_view prev);
    // After an acknowledged release, or once the TTL has passed.
    void Erase(int index);

  private:
    std::string instance_;
    char *base_ = nullptr;
    size_t bytes_ = 0;
    int records_ = 0;
};

// `digits` random hexadecimal digits from the strong generator.
std::string RandomHex(size_t digits);

}  // namespace inventory_lock::worker
