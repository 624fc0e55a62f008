// The load generator of the bench: persistent connections, prepared statements, slices on command.
//
// pgbench reconnects for every run, and its connection phase distorts short slices with many
// clients. This one connects once and then runs slices as told on standard input, so that variants
// can be interleaved within seconds of each other:
//
//     generator CONNINFO CLIENTS NAME=STATEMENT...      each statement has one text parameter, $1
//     sql TEXT                      runs TEXT on every connection           → "ok"
//     slice NAME CLIENTS KEYS MS    KEYS is 0 (a key of its own for each client) or the number of
//     keys
//                                   that all draw from, at random
//                                   → "CALLS ERRORS SECONDS" and the latency distribution as
//                                   "SHARE:US", the latency that so many calls do not exceed
//     burst NAME CLIENTS CALLS      so many calls on key 0, as fast as the clients can → the same
//
// A slice is a closed loop: each client sends its next call when it has the answer to the last one.
// Calls that begin before the end of the slice are waited for and count; calls that fail count as
// errors and are timed like others. One thread, one epoll.

#include <libpq-fe.h>
#include <sys/epoll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kShares[] = {0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};

int64_t NowUs() {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch())
        .count();
}

[[noreturn]] void Fail(const std::string &what) {
    std::fprintf(stderr, "generator: %s\n", what.c_str());
    std::exit(1);
}

struct ConnectionDeleter {
    void operator()(PGconn *connection) const { PQfinish(connection); }
};
struct ResultDeleter {
    void operator()(PGresult *result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, ConnectionDeleter>;
using Result = std::unique_ptr<PGresult, ResultDeleter>;

struct Client {
    Connection connection;
    std::string key;
    int64_t sent_us = 0;
    bool failed = false;  // by what has been read of the answer so far
};

struct Slice {
    int64_t calls = 0;
    int64_t errors = 0;
    double seconds = 0;
    std::vector<int64_t> latencies_us;

    int64_t Quantile(double share) const {
        if (latencies_us.empty()) {
            return 0;
        }
        const size_t index = static_cast<size_t>(share * static_cast<double>(latencies_us.size()));
        return latencies_us[std::min(index, latencies_us.size() - 1)];
    }
};

class Generator {
  public:
    Generator(const char *conninfo, size_t clients) : epoll_(epoll_create1(0)), clients_(clients) {
        for (size_t number = 0; number < clients; ++number) {
            Client &client = clients_[number];
            client.connection.reset(PQconnectdb(conninfo));
            if (PQstatus(client.connection.get()) != CONNECTION_OK) {
                Fail(PQerrorMessage(client.connection.get()));
            }
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u64 = number;
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, PQsocket(client.connection.get()), &event) != 0) {
                Fail("epoll_ctl");
            }
        }
    }

    void Prepare(const std::string &name, const std::string &statement) {
        for (Client &client : clients_) {
            Check(client,
                  PQprepare(client.connection.get(), name.c_str(), statement.c_str(), 1, nullptr));
        }
    }

    void Run(const std::string &sql) {
        for (Client &client : clients_) {
            Check(client, PQexec(client.connection.get(), sql.c_str()));
        }
    }

    // Ends when `duration_ms` are over or `calls` have been sent, whichever is first.
    Slice RunSlice(const std::string &name, size_t clients, size_t keys, int64_t duration_ms,
                   int64_t calls) {
        Slice slice;
        const int64_t begin = NowUs();
        const int64_t end = begin + duration_ms * 1000;
        std::uniform_int_distribution<size_t> any(0, keys > 0 ? keys - 1 : 0);
        int64_t sent = 0;
        size_t busy = 0;
        const auto send = [&](size_t number) {
            clients_[number].key = "bench-" + std::to_string(keys == 0 ? number : any(random_));
            Send(clients_[number], name);
            ++sent;
        };
        for (size_t number = 0; number < clients && sent < calls; ++number) {
            send(number);
            ++busy;
        }
        epoll_event events[64];
        while (busy > 0) {
            const int ready = epoll_wait(epoll_, events, 64, 60000);
            if (ready <= 0) {
                Fail("no answer within 60 s");
            }
            for (int index = 0; index < ready; ++index) {
                Client &client = clients_[events[index].data.u64];
                if (!Finished(client, &slice)) {
                    continue;
                }
                if (NowUs() < end && sent < calls) {
                    send(events[index].data.u64);
                } else {
                    --busy;
                }
            }
        }
        slice.seconds = static_cast<double>(NowUs() - begin) / 1e6;
        std::sort(slice.latencies_us.begin(), slice.latencies_us.end());
        return slice;
    }

  private:
    void Check(const Client &client, PGresult *raw) {
        const Result result(raw);
        const ExecStatusType status = PQresultStatus(result.get());
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            Fail(PQerrorMessage(client.connection.get()));
        }
    }

    void Send(Client &client, const std::string &name) {
        const char *values[] = {client.key.c_str()};
        client.sent_us = NowUs();
        client.failed = false;
        if (PQsendQueryPrepared(client.connection.get(), name.c_str(), 1, values, nullptr, nullptr,
                                0) == 0) {
            Fail(PQerrorMessage(client.connection.get()));
        }
    }

    // True when the whole answer is there; it is counted then.
    bool Finished(Client &client, Slice *slice) {
        PGconn *const connection = client.connection.get();
        if (PQconsumeInput(connection) == 0) {
            Fail(PQerrorMessage(connection));
        }
        while (PQisBusy(connection) == 0) {
            const Result result(PQgetResult(connection));
            if (result == nullptr) {
                ++(client.failed ? slice->errors : slice->calls);
                slice->latencies_us.push_back(NowUs() - client.sent_us);
                return true;
            }
            if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
                client.failed = true;  // the end of the answer may come with a later read
                if (slice->errors == 0) {
                    std::fprintf(stderr, "generator: %s", PQresultErrorMessage(result.get()));
                }
            }
        }
        return false;
    }

    int epoll_;
    std::vector<Client> clients_;
    std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char **argv) {
    if (argc < 4) {
        Fail("usage: generator CONNINFO CLIENTS NAME=STATEMENT...");
    }
    const size_t count = std::strtoul(argv[2], nullptr, 10);
    Generator generator(argv[1], count);
    for (int index = 3; index < argc; ++index) {
        const std::string word = argv[index];
        const size_t equals = word.find('=');
        generator.Prepare(word.substr(0, equals), word.substr(equals + 1));
    }
    std::puts("ready");
    std::fflush(stdout);

    char line[1024];
    while (std::fgets(line, sizeof(line), stdin) != nullptr) {
        line[std::strcspn(line, "\n")] = '\0';
        char name[64];
        size_t clients = 0;
        size_t keys = 0;
        long limit = 0;
        Slice slice;
        if (std::strncmp(line, "sql ", 4) == 0) {
            generator.Run(line + 4);
            std::puts("ok");
            std::fflush(stdout);
            continue;
        }
        if (std::sscanf(line, "slice %63s %zu %zu %ld", name, &clients, &keys, &limit) == 4 &&
            clients <= count) {
            slice = generator.RunSlice(name, clients, keys, limit, INT64_MAX);
        } else if (std::sscanf(line, "burst %63s %zu %ld", name, &clients, &limit) == 3 &&
                   clients <= count) {
            slice = generator.RunSlice(name, clients, 1, 600000, limit);
        } else {
            Fail(std::string("what is this: ") + line);
        }
        std::printf("%lld %lld %.6f", static_cast<long long>(slice.calls),
                    static_cast<long long>(slice.errors), slice.seconds);
        for (const double share : kShares) {
            std::printf(" %g:%lld", share, static_cast<long long>(slice.Quantile(share)));
        }
        std::putchar('\n');
        std::fflush(stdout);
    }
    return 0;
}
