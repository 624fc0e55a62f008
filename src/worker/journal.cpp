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
constexpr uint64 kMagic = UINT64CONST(0x314B434F4C564E49);  // "INVLOCK1", little-endian
constexpr size_t kInstanceDigits = 16;
constexpr size_t kIdChars = 64;
constexpr size_t kPathChars = 1024;

struct Header {
    uint64 magic;
    uint32 records;
    uint32 record_bytes;
    char instance[kIdChars];
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

}  // namespace

std::string RandomHex(size_t digits) {
    std::string bytes((digits + 1) / 2, '\0');
    if (!pg_strong_random(bytes.data(), bytes.size())) {
        throw std::runtime_error("could not generate random values");
    }
    std::string hex;
    for (const char c : bytes) {
        constexpr char kDigits[] = "0123456789abcdef";
        hex += kDigits[static_cast<unsigned char>(c) >> 4];
        hex += kDigits[static_cast<unsigned char>(c) & 15];
    }
    hex.resize(digits);
    return hex;
}

Journal::~Journal() {
    if (base_ != nullptr) {
        munmap(base_, bytes_);
    }
}

std::vector<Orphan> Journal::Open(int records, bool same_life) {
    std::vector<Orphan> orphans;
    instance_ = RandomHex(kInstanceDigits);
    const int fd = open(kPath, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        LogFileTrouble("open");
        return orphans;
    }
    const Header expected = ExpectedHeader(fd, records);
    Header found;
    const bool ours = pread(fd, &found, sizeof(found), 0) == static_cast<ssize_t>(sizeof(found)) &&
                      BelongsHere(found, expected);
    if (ours) {
        instance_.assign(found.instance, kInstanceDigits);
        for (uint32 i = 0; i < found.records && !same_life; i++) {
            Record record;
            const auto offset = static_cast<off_t>(sizeof(Header) + sizeof(Record) * i);
            if (pread(fd, &record, sizeof(record), offset) !=
                    static_cast<ssize_t>(sizeof(record)) ||
                !Terminated(record.key, sizeof(record.key)) ||
                !Terminated(record.token, sizeof(record.token)) ||
                !Terminated(record.prev, sizeof(record.prev))) {
                continue;
            }
            for (const char *token : {record.token, record.prev}) {
                if (token[0] != '\0' && record.key[0] != '\0') {
                    orphans.push_back({record.key, token});
                }
            }
        }
    }
    const size_t bytes = sizeof(Header) + sizeof(Record) * static_cast<size_t>(records);
    const bool keep = ours && same_life && found.records == expected.records;
    if ((!keep && ftruncate(fd, 0) != 0) || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        LogFileTrouble("resize");
        close(fd);
        return orphans;
    }
    void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        LogFileTrouble("map");
        close(fd);
        return orphans;
    }
    close(fd);
    base_ = static_cast<char *>(base);
    bytes_ = bytes;
    records_ = records;
    Header header = expected;
    CopyText(header.instance, sizeof(header.instance), instance_);
    memcpy(base_, &header, sizeof(header));
    return orphans;
}

void Journal::Write(int index, std::string_view key, std::string_view token,
                    std::string_view prev) {
    if (base_ == nullptr || index < 0 || index >= records_) {
        return;
    }
    auto *record = reinterpret_cast<Record *>(base_ + sizeof(Header)) + index;
    CopyText(record->key, sizeof(record->key), key);
    CopyText(record->prev, sizeof(record->prev), prev);
    CopyText(record->token, sizeof(record->token), token);
}

void Journal::Erase(int index) {
    if (base_ == nullptr || index < 0 || index >= records_) {
        return;
    }
    auto *record = reinterpret_cast<Record *>(base_ + sizeof(Header)) + index;
    record->token[0] = '\0';
    record->prev[0] = '\0';
}

}  // namespace inventory_lock::worker
