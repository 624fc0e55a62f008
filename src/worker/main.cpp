// The background worker: its start, its loop, its end.
//
// Runs in: the worker, one per server, on a primary only. It owns every connection to Redis. The
// loop never blocks anywhere but in the wait for its latch and its sockets, and never lets trouble
// with Redis become an ERROR. It never returns: returning would unregister it. After SIGTERM it
// serves until nobody holds or wants anything, at most 2 s, and leaves with code 1, so that the
// postmaster starts it again unless the server is going down.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pg/boundary.hpp"
#include "pg/injection.hpp"
#include "pg/settings.hpp"
#include "worker/keeper.hpp"
#include "worker/summary.hpp"
#include "worker/worker.hpp"

extern "C" {
#include <common/string.h>
#include <pgstat.h>
#include <postmaster/bgworker.h>
#include <postmaster/interrupt.h>
#include <storage/fd.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::worker {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kDrainUs = 2000 * kUsPerMs;
constexpr int64 kLastAnswersUs = 200 * kUsPerMs;
constexpr int kFixedEvents = 2;
constexpr size_t kBootDigits = 8;
constexpr size_t kMaxPasswordBytes = 1024;

// Publishes that this process is the worker; the opposite at its exit, unless a successor is there.
extern "C" void Unpublish(int, Datum) {
    shared::Worker *worker = &shared::Get()->worker;
    if (pg_atomic_read_u32(&worker->pid) == static_cast<uint32>(MyProcPid)) {
        // It has served, so another one can be expected (lease_request.cpp).
        pg_atomic_write_u64(&worker->heartbeat_us, static_cast<uint64>(pg::BootUs()));
        pg_atomic_write_u32(&worker->procno, static_cast<uint32>(-1));
        pg_atomic_write_u32(&worker->pid, 0);
    }
}

void Publish(bool *same_life) {
    shared::Worker *worker = &shared::Get()->worker;
    const std::string boot = RandomHex(kBootDigits);
    const TimestampTz now = GetCurrentTimestamp();
    SpinLockAcquire(&worker->mutex);
    *same_life = worker->boot[0] != '\0';
    if (!*same_life) {
        memcpy(worker->boot, boot.c_str(), boot.size() + 1);
    }
    worker->started_at = now;
    SpinLockRelease(&worker->mutex);
    pg::Call([] { on_shmem_exit(Unpublish, 0); });
}

// Reads the first line of the password file; "" with a LOG line when it may not be used.
std::string ReadPassword() {
    std::string password;
    const char *path = pg::settings::redis_password_file;
    if (path == nullptr || path[0] == '\0') {
        return password;
    }
    const char *trouble = nullptr;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        trouble = "it cannot be opened";
    } else if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
               (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        trouble = "it must be a file of the server's user that nobody else may read (mode 0600)";
    } else {
        char buffer[kMaxPasswordBytes];
        const ssize_t bytes = read(fd, buffer, sizeof(buffer));
        password.assign(buffer, bytes > 0 ? static_cast<size_t>(bytes) : 0);
        explicit_bzero(buffer, sizeof(buffer));
        password.resize(std::min(password.size(), password.find_first_of("\r\n")));
    }
    if (fd >= 0) {
        close(fd);
    }
    if (trouble != nullptr) {
        pg::Call([&] {
            ereport(LOG, (errmsg("ignoring the Redis password file \"%s\": %s", path, trouble)));
        });
    }
    return password;
}

// What the connections to a server depend on, as one text: they are renewed when it changes.
std::string ConnectionSettings(const char *url, int pool_size, const std::string &password) {
    return std::string(url != nullptr ? url : "") + "\n" + std::to_string(pool_size) + "\n" +
           std::to_string(pg::settings::redis_connect_timeout_ms) + "\n" +
           std::to_string(pg::settings::redis_command_timeout_ms) + "\n" + password;
}

// How to connect to the server that a setting names; nullptr when it names none.
std::unique_ptr<redis::NodeOptions> Options(const char *url, const std::string &password) {
    if (url == nullptr || url[0] == '\0') {
        return nullptr;
    }
    const auto parsed = redis::ParseAddress(url);
    const auto *address = std::get_if<redis::Address>(&parsed);
    if (address == nullptr) {
        return nullptr;
    }
    auto options = std::make_unique<redis::NodeOptions>();
    options->address = *address;
    options->password = password;
    options->lanes = pg::settings::redis_pool_size;
    options->connect_timeout_us = pg::settings::redis_connect_timeout_ms * kUsPerMs;
    options->command_timeout_us = pg::settings::redis_command_timeout_ms * kUsPerMs;
    return options;
}

// The settings that the present connections were made with.
struct Current {
    std::string locks;
    std::string replica;
};

// Exchanges the text for the wanted one; false when it was that already. Wipes what it drops.
bool Renew(std::string *current, std::string wanted) {
    const bool changed = wanted != *current;
    current->swap(wanted);
    explicit_bzero(wanted.data(), wanted.size());
    return changed;
}

void Configure(Keeper &keeper, Current *current) {
    std::string password = ReadPassword();
    const char *url = pg::settings::redis_url;
    const char *replica_url = pg::settings::redis_replica_url;
    if (Renew(&current->replica, ConnectionSettings(replica_url, 1, password))) {
        keeper.UseReplica(Options(replica_url, password));
    }
    if (Renew(&current->locks, ConnectionSettings(url, pg::settings::redis_pool_size, password))) {
        std::unique_ptr<redis::NodeOptions> options = Options(url, password);
        const uint64 hash = options != nullptr ? shared::HashKey(options->address.Text()) : 0;
        keeper.Use(std::move(options), hash, pg::BootUs());
    } else {
        keeper.ResolveAgain(pg::BootUs());
    }
    explicit_bzero(password.data(), password.size());
}

// The loop's wait set. PostgreSQL cannot take a socket out of one, so it is built anew whenever a
// socket was opened or closed.
class WaitSet final {
  public:
    ~WaitSet() { Drop(); }

    // Waits until `until_us` at most. Returns the sockets that are ready.
    const std::vector<WaitEvent> &Wait(Keeper &keeper, int64 until_us) {
        Build(keeper);
        const int64 left_us = std::max<int64>(until_us - pg::BootUs(), 0);
        const long left_ms = static_cast<long>((left_us + kUsPerMs - 1) / kUsPerMs);
        Collect(left_ms);
        // When the latch is set, older servers report it alone: look at the sockets as well.
        if (events_.size() == 1 && (events_[0].events & WL_LATCH_SET) != 0) {
            ResetLatch(MyLatch);
            Collect(0);
        }
        ResetLatch(MyLatch);
        return events_;
    }

  private:
    void Build(Keeper &keeper) {
        keeper.Sockets(&sockets_);
        if (set_ == nullptr || generation_ != keeper.socket_generation() ||
            sockets_.size() != writable_.size()) {
            Drop();
            generation_ = keeper.socket_generation();
            const int size = kFixedEvents + static_cast<int>(sockets_.size());
            const redis::Socket *sockets = sockets_.data();
            const size_t count = sockets_.size();
            set_ = pg::Call([&] {
                WaitEventSet *set = pg::NewWaitEventSet(size);
                AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
                AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
                for (size_t i = 0; i < count; i++) {
                    AddWaitEventToSet(set, Events(sockets[i]), sockets[i].fd, nullptr, nullptr);
                }
                return set;
            });
            writable_.clear();
            for (const redis::Socket &socket : sockets_) {
                writable_.push_back(socket.writable);
            }
            return;
        }
        for (size_t i = 0; i < sockets_.size(); i++) {
            if (sockets_[i].writable != writable_[i]) {
                writable_[i] = sockets_[i].writable;
                const uint32 events = Events(sockets_[i]);
                pg::Call([&] {
                    ModifyWaitEvent(set_, kFixedEvents + static_cast<int>(i), events, nullptr);
                });
            }
        }
    }

    static uint32 Events(const redis::Socket &socket) {
        return WL_SOCKET_READABLE | (socket.writable ? WL_SOCKET_WRITEABLE : 0);
    }

    void Collect(long timeout_ms) {
        events_.resize(kFixedEvents + sockets_.size());
        WaitEvent *events = events_.data();
        const int size = static_cast<int>(events_.size());
        static uint32 wait_event = 0;
        if (wait_event == 0) {
            wait_event = pg::NewWaitEvent("InventoryLockMain");
        }
        const int count =
            pg::Call([&] { return WaitEventSetWait(set_, timeout_ms, events, size, wait_event); });
        events_.resize(static_cast<size_t>(count));
    }

    void Drop() {
        if (set_ != nullptr) {
            FreeWaitEventSet(set_);
            set_ = nullptr;
        }
    }

    WaitEventSet *set_ = nullptr;
    uint64 generation_ = 0;
    std::vector<redis::Socket> sockets_;
    std::vector<bool> writable_;
    std::vector<WaitEvent> events_;
};

// What pg_stat_activity shows; told only when it changes.
void ReportActivity(const Keeper &keeper) {
    static const char *shown = nullptr;
    const char *now = !pg::settings::RedisConfigured() ? "Redis is not configured"
                      : keeper.reachable()             ? "serving locks in Redis"
                                                       : "waiting for Redis";
    if (now != shown) {
        shown = now;
        pg::Call([&] { pgstat_report_activity(STATE_RUNNING, now); });
    }
}

void OneTurn(Keeper &keeper, Summary &summary, WaitSet &wait_set, int64 latest_us) {
    shared::Worker *worker = &shared::Get()->worker;
    const int64 now_us = pg::BootUs();
    const int64 next_us = std::min({keeper.Turn(now_us), summary.WriteIfDue(now_us), latest_us});
    ReportActivity(keeper);
    const std::vector<WaitEvent> &events = wait_set.Wait(keeper, next_us);
    pg_atomic_write_u64(&worker->heartbeat_us, static_cast<uint64>(pg::BootUs()));
    for (const WaitEvent &event : events) {
        if ((event.events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE)) != 0) {
            keeper.OnSocket(event.fd, (event.events & WL_SOCKET_READABLE) != 0,
                            (event.events & WL_SOCKET_WRITEABLE) != 0, pg::BootUs());
        }
    }
}

void Serve() {
    shared::Worker *worker = &shared::Get()->worker;
    bool same_life;
    Publish(&same_life);
    Journal journal;
    IL_INJECT("worker-starting");
    std::vector<Orphan> orphans = journal.Open(shared::Leases()->capacity, worker->boot);
    IL_INJECT("worker-journal-read");
    SpinLockAcquire(&worker->mutex);
    const bool keep_instance = worker->instance[0] != '\0';
    if (!keep_instance) {
        memcpy(worker->instance, journal.instance().c_str(), journal.instance().size() + 1);
    }
    SpinLockRelease(&worker->mutex);

    Keeper keeper(journal, std::move(orphans), same_life);
    Current connections;
    Configure(keeper, &connections);
    WaitSet wait_set;
    Summary summary;

    // From here on backends may send.
    pg_atomic_write_u64(&worker->heartbeat_us, static_cast<uint64>(pg::BootUs()));
    pg_atomic_fetch_add_u64(&worker->incarnation, 1);
    pg_atomic_write_u32(&worker->pid, static_cast<uint32>(MyProcPid));
    pg_atomic_write_u32(&worker->procno, static_cast<uint32>(pg::MyProcIndex()));

    IL_INJECT("worker-serving");
    int64 leave_us = 0;
    for (;;) {
        pg::Call([] { CHECK_FOR_INTERRUPTS(); });
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            pg::Call([] { ProcessConfigFile(PGC_SIGHUP); });
            Configure(keeper, &connections);
        }
        const int64 now_us = pg::BootUs();
        if (ShutdownRequestPending) {
            leave_us = leave_us == 0 ? now_us + kDrainUs : leave_us;
            if (now_us >= leave_us || keeper.Quiet()) {
                break;
            }
        }
        OneTurn(keeper, summary, wait_set, leave_us != 0 ? now_us + 10 * kUsPerMs : INT64_MAX);
    }
    keeper.ReleaseIdle(pg::BootUs());
    const int64 last_us = pg::BootUs() + kLastAnswersUs;
    while (keeper.reachable() && !keeper.Settled() && pg::BootUs() < last_us) {
        OneTurn(keeper, summary, wait_set, last_us);
    }
}

}  // namespace

void Register() {
    BackgroundWorker worker;
    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = 1;
    strlcpy(worker.bgw_name, "inventory_lock worker", BGW_MAXLEN);
    strlcpy(worker.bgw_type, "inventory_lock worker", BGW_MAXLEN);
    strlcpy(worker.bgw_library_name, "inventory_lock", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "inventory_lock_worker_main",
            sizeof(worker.bgw_function_name));
    RegisterBackgroundWorker(&worker);
}

}  // namespace inventory_lock::worker

extern "C" PGDLLEXPORT void inventory_lock_worker_main(Datum) {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    inventory_lock::pg::Boundary([] { inventory_lock::worker::Serve(); });
    proc_exit(1);
}
