// The instance file: who this cluster is in Redis, and what a crash leaves there.
//
// Runs in: the worker. pg_stat_tmp/inventory_lock.leases, memory-mapped. The header names the
// instance and what it belongs to: machine, kernel boot, data directory, and the file's own device
// and inode. The body has one record per lease entry: key and tokens, written *before* a request
// that may set the key is sent. The file survives an immediate stop and kill −9, and is in no base
// backup. At a new life of the server a file that belongs here is worked off (the tokens of the
// dead boot are compare-and-deleted) and its instance is kept; any other file is discarded and a
// new instance minted: a clone or a promoted standby must never free what the original holds.
// What is to be worked off stands behind the lease entries' records until Redis has acknowledged
// it, so that another crash, or a Redis that cannot be reached meanwhile, does not forget it.

#pragma once

#include "pg/postgres.hpp"

namespace inventory_lock::worker {

struct Orphan {
    std::string key;
    std::string token;
    int record;  // for EraseOrphan
};

class Journal final {
  public:
    Journal() = default;
    ~Journal();
    Journal(const Journal &) = delete;
    Journal &operator=(const Journal &) = delete;

    // Maps the file with room for `records`. A file of this boot of the server (another worker
    // began it) goes on: its records stand for what shared memory knows. One of an earlier boot is
    // begun anew, and its records become orphans. Returns the orphans not yet erased. Never throws
    // for trouble with the file: then there is a fresh instance and nothing is recorded (LOG line).
    std::vector<Orphan> Open(int records, const std::string &boot);

    // This cluster's id in tokens: 16 hexadecimal digits.
    const std::string &instance() const { return instance_; }

    // Before sending: entry `index` may be in Redis under these tokens.
    void Write(int index, std::string_view key, std::string_view token, std::string_view prev);
    // After an acknowledged release, or once the TTL has passed.
    void Erase(int index);
    // Redis has answered: the orphan's key is not under its token any more.
    void EraseOrphan(int record);

  private:
    bool Map(int fd, size_t bytes);
    void BeginAnew(int records, const std::string &boot, const std::vector<Orphan> &orphans);

    std::string instance_;
    char *base_ = nullptr;
    size_t bytes_ = 0;
    int records_ = 0;
};

// `digits` random hexadecimal digits from the strong generator.
std::string RandomHex(size_t digits);
void RandomHex(char *hex, size_t digits);  // no zero behind them

}  // namespace inventory_lock::worker
