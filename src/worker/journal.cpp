// The instance file; see journal.hpp. Runs in: the worker.

#include "worker/journal.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pg/boundary.hpp"
#include "shared/lease_table.hpp"

namespace inventory_lock::worker {

namespace {

constexpr char kPath[] = "pg_stat_tmp/inventory_lock.leases";
constexpr char kNewPath[] = "pg_stat_tmp/inventory_lock.leases.new";
constexpr uint64 kMagic = UINT64CONST(0x324B434F4C564E49);  // "INVLOCK2", little-endian
constexpr size_t kInstanceDigits = 16;
constexpr size_t kIdChars = 64;
constexpr size_t kPathChars = 1024;

struct Header {
    uint64 magic;
    uint32 records;
    uint32 orphans;  // records behind those
    uint32 record_bytes;
    char instance[kIdChars];
    char boot[kIdChars];  // of the server
    char machine[kIdChars];
    char kernel_boot[kIdChars];
    uint64 device;
    uint64 inode;
    char data_directory[kPathChars];
};

struct Record {
    char token[shared::kTokenBytes];  // "" = nothing in Redis
    char prev[shared::kTokenBytes];
    char key[shared::kKeyBytes];
};

// First line of a small file; "" when it cannot be read.
std::string FirstLine(const char *path) {
    std::string line;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        char buffer[kIdChars - 1];
        const ssize_t bytes = read(fd, buffer, sizeof(buffer));
        close(fd);
        line.assign(buffer, bytes > 0 ? static_cast<size_t>(bytes) : 0);
        line.resize(std::min(line.size(), line.find('\n')));
    }
    return line;
}

void CopyText(char *target, size_t size, std::string_view text) {
    const size_t length = std::min(text.size(), size - 1);
    memcpy(target, text.data(), length);
    target[length] = '\0';
}

Header ExpectedHeader(int fd, int records) {
    Header header;
    memset(&header, 0, sizeof(header));
    struct stat status;
    if (fstat(fd, &status) == 0) {
        header.device = status.st_dev;
        header.inode = status.st_ino;
    }
    header.magic = kMagic;
    header.records = static_cast<uint32>(records);
    header.record_bytes = sizeof(Record);
    CopyText(header.machine, sizeof(header.machine), FirstLine("/etc/machine-id"));
    CopyText(header.kernel_boot, sizeof(header.kernel_boot),
             FirstLine("/proc/sys/kernel/random/boot_id"));
    char resolved[PATH_MAX];
    CopyText(header.data_directory, sizeof(header.data_directory),
             realpath(DataDir, resolved) != nullptr ? resolved : DataDir);
    return header;
}

// Everything but the instance and the number of records must be as it would be written now.
bool BelongsHere(const Header &found, const Header &expected) {
    return found.magic == expected.magic && found.record_bytes == expected.record_bytes &&
           found.device == expected.device && found.inode == expected.inode &&
           memcmp(found.machine, expected.machine, sizeof(found.machine)) == 0 &&
           memcmp(found.kernel_boot, expected.kernel_boot, sizeof(found.kernel_boot)) == 0 &&
           memcmp(found.data_directory, expected.data_directory, sizeof(found.data_directory)) ==
               0 &&
           strnlen(found.instance, sizeof(found.instance)) == kInstanceDigits;
}

void LogFileTrouble(const char *what) {
    const int saved_errno = errno;
    pg::Call([&] {
        errno = saved_errno;
        ereport(LOG,
                (errcode_for_file_access(), errmsg("could not %s file \"%s\": %m", what, kPath),
                 errdetail("After a crash, locks in Redis will be freed by their time to live "
                           "only.")));
    });
}

bool Terminated(const char *text, size_t size) {
    return strnlen(text, size) < size;
}

size_t FileBytes(const Header &header) {
    return sizeof(Header) + sizeof(Record) * (static_cast<size_t>(header.records) + header.orphans);
}

Record *RecordAt(char *base, int index) {
    return reinterpret_cast<Record *>(base + sizeof(Header)) + index;
}

// What a file that belongs here says is still to be freed: the orphans, and the leases of a boot
// that has ended; then their places are in the new file, behind `records` leases.
std::vector<Orphan> ReadOrphans(int fd, const Header &header, bool same_boot, int records) {
    std::vector<Orphan> orphans;
    const uint32 last = header.records + header.orphans;
    for (uint32 i = same_boot ? header.records : 0; i < last; i++) {
        Record record;
        const auto offset = static_cast<off_t>(sizeof(Header) + sizeof(Record) * i);
        if (pread(fd, &record, sizeof(record), offset) != static_cast<ssize_t>(sizeof(record))) {
            break;
        }
        if (!Terminated(record.key, sizeof(record.key)) ||
            !Terminated(record.token, sizeof(record.token)) ||
            !Terminated(record.prev, sizeof(record.prev))) {
            continue;
        }
        for (const char *token : {record.token, record.prev}) {
            if (token[0] != '\0' && record.key[0] != '\0') {
                orphans.push_back(
                    {record.key, token,
                     same_boot ? static_cast<int>(i) : records + static_cast<int>(orphans.size())});
            }
        }
    }
    return orphans;
}

}  // namespace

std::string RandomHex(size_t digits) {
    std::string hex(digits, '0');
    RandomHex(hex.data(), digits);
    return hex;
}

void RandomHex(char *hex, size_t digits) {
    // Drawn in advance: most of a draw's cost does not depend on how many bytes it is for.
    static unsigned char drawn[4096];
    static size_t used = sizeof(drawn);
    for (size_t i = 0; i < digits; i += 2) {
        if (used == sizeof(drawn)) {
            if (!pg_strong_random(drawn, sizeof(drawn))) {
                throw std::runtime_error("could not generate random values");
            }
            used = 0;
        }
        constexpr char kDigits[] = "0123456789abcdef";
        const unsigned char byte = std::exchange(drawn[used++], 0);
        hex[i] = kDigits[byte >> 4];
        if (i + 1 < digits) {
            hex[i + 1] = kDigits[byte & 15];
        }
    }
}

Journal::~Journal() {
    if (base_ != nullptr) {
        munmap(base_, bytes_);
    }
}

std::vector<Orphan> Journal::Open(int records, const std::string &boot) {
    std::vector<Orphan> orphans;
    instance_ = RandomHex(kInstanceDigits);
    const int fd = open(kPath, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        LogFileTrouble("open");
        return orphans;
    }
    Header found;
    bool same_boot = false;
    if (pread(fd, &found, sizeof(found), 0) == static_cast<ssize_t>(sizeof(found)) &&
        BelongsHere(found, ExpectedHeader(fd, records))) {
        instance_.assign(found.instance, kInstanceDigits);
        same_boot = Terminated(found.boot, sizeof(found.boot)) && boot == found.boot;
        orphans = ReadOrphans(fd, found, same_boot, records);
    }
    if (same_boot) {
        records_ = Map(fd, FileBytes(found)) ? records : 0;
    }
    close(fd);
    if (!same_boot) {
        BeginAnew(records, boot, orphans);
    }
    return orphans;
}

// Maps the file, with that size. A page that has no place on the disk yet would be SIGBUS where the
// disk is full by the time it is written, so all of them get it now.
bool Journal::Map(int fd, size_t bytes) {
    int trouble = 0;
    do {
        trouble = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    } while (trouble == EINTR);
    if (trouble != 0) {
        errno = trouble;
        LogFileTrouble("allocate space for");
        return false;
    }
    void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        LogFileTrouble("map");
        return false;
    }
    base_ = static_cast<char *>(base);
    bytes_ = bytes;
    return true;
}

// Written beside the old file and renamed: whatever moment a crash comes at, one of them is whole.
void Journal::BeginAnew(int records, const std::string &boot, const std::vector<Orphan> &orphans) {
    const int fd = open(kNewPath, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        LogFileTrouble("open");
        return;
    }
    Header header = ExpectedHeader(fd, records);
    header.orphans = static_cast<uint32>(orphans.size());
    CopyText(header.instance, sizeof(header.instance), instance_);
    CopyText(header.boot, sizeof(header.boot), boot);
    const bool mapped = Map(fd, FileBytes(header));
    close(fd);
    if (!mapped) {
        (void)unlink(kNewPath);
        return;
    }
    memcpy(base_, &header, sizeof(header));
    for (size_t i = 0; i < orphans.size(); i++) {
        Record *record = RecordAt(base_, records + static_cast<int>(i));
        CopyText(record->key, sizeof(record->key), orphans[i].key);
        CopyText(record->token, sizeof(record->token), orphans[i].token);
    }
    if (rename(kNewPath, kPath) != 0) {
        LogFileTrouble("rename");
        munmap(base_, bytes_);
        base_ = nullptr;
        return;
    }
    records_ = records;
}

void Journal::Write(int index, std::string_view key, std::string_view token,
                    std::string_view prev) {
    if (base_ == nullptr || index < 0 || index >= records_) {
        return;
    }
    Record *record = RecordAt(base_, index);
    CopyText(record->key, sizeof(record->key), key);
    CopyText(record->prev, sizeof(record->prev), prev);
    CopyText(record->token, sizeof(record->token), token);
}

void Journal::Erase(int index) {
    if (base_ == nullptr || index < 0 || index >= records_) {
        return;
    }
    Record *record = RecordAt(base_, index);
    record->token[0] = '\0';
    record->prev[0] = '\0';
}

void Journal::EraseOrphan(int record) {
    if (base_ != nullptr && record >= records_ &&
        sizeof(Header) + sizeof(Record) * (static_cast<size_t>(record) + 1) <= bytes_) {
        RecordAt(base_, record)->token[0] = '\0';
    }
}

}  // namespace inventory_lock::worker
