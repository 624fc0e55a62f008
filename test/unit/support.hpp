// What the unit tests of src/redis share: a clock, a private redis-server, a blocking client, an
// event loop for a Node and for peers of our own, and a scripted peer.
//
// Everything runs in the one thread of the test. Nothing waits for a fixed time: Loop::Until()
// turns the loop until a state is reached, and fails the test when it is not in kPatience_us.

#pragma once

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "redis/lock_protocol.hpp"
#include "redis/node.hpp"
#include "redis/reply.hpp"

namespace inventory_lock::redis::test {

inline constexpr int64_t kPatience_us = 20000000;

int64_t Now_us();

// A folder that is removed with what it holds.
class Folder {
  public:
    Folder();
    ~Folder();
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;
    const std::string &path() const { return path_; }

  private:
    std::string path_;
};

// A redis-server on a Unix socket in a folder of its own; it dies with the test.
class Server {
  public:
    explicit Server(std::vector<std::string> arguments = {});
    ~Server();
    Server(const Server &) = delete;
    Server &operator=(const Server &) = delete;

    void Stop();  // at once, like a crash
    void Start(const std::vector<std::string> &more_arguments = {});
    bool Accepts() const;  // somebody listens
    pid_t pid() const { return pid_; }
    const std::string &socket_path() const { return socket_path_; }
    const std::string &folder() const { return folder_.path(); }
    Address address() const;

  private:
    Folder folder_;
    std::string socket_path_;
    std::vector<std::string> arguments_;
    pid_t pid_ = -1;
};

// A foreign client: one blocking connection.
class Client {
  public:
    explicit Client(const Server &server);

    ReplyOwner Do(const std::vector<std::string_view> &argv);
    std::string Text(const std::vector<std::string_view> &argv);  // "(nil)" for nil
    int64_t Integer(const std::vector<std::string_view> &argv);   // -1000 for anything else
    void Post(const std::vector<std::string_view> &argv);         // sends, reads no answer
    ReplyOwner Next();                                            // the next message or answer
    // Sends one of ours: by hash first, by text after NOSCRIPT.
    ReplyOwner Call(const Command &command);

    AcquireAnswer Acquire(const std::vector<AcquireKey> &keys, AcquireOptions options = {});
    ExtendAnswer Extend(const std::vector<ExtendKey> &keys);
    ReleaseAnswer Release(const ReleaseKey &key);
    ReleaseAnswer ReleaseAll(const std::vector<ReleaseKey> &keys);
    RaiseAnswer Raise(std::string_view key, std::string_view token, uint64_t given);
    uint64_t Time_us();

  private:
    struct ContextDeleter {
        void operator()(redisContext *context) const noexcept { redisFree(context); }
    };
    std::unique_ptr<redisContext, ContextDeleter> context_;
};

// Anything that has sockets for the loop.
class Participant {
  public:
    virtual ~Participant() = default;
    virtual void AddSockets(std::vector<pollfd> &sockets) const = 0;
    virtual void OnEvents(const pollfd &event) = 0;
};

// Remembers what a Node told.
class Recorder : public NodeEvents {
  public:
    struct Down {
        int lane;
        TroubleKind kind;
        std::string text;
    };
    struct Answer {
        int lane;
        uint64_t tag;
        std::string text;  // Text() of the reply, or "[size]" of an array
        bool error;
    };
    void OnLaneReady(int lane) override;
    void OnLaneDown(int lane, const Trouble &trouble) override;
    void OnReply(int lane, uint64_t tag, ReplyView reply) override;
    void OnInvalidated(int lane, std::string_view key) override;
    void OnAllInvalidated(int lane) override;
    void OnRecall(int lane, std::string_view payload) override;
    void OnNoSentinel(const Trouble &) override { no_sentinel++; }

    bool Invalidated(std::string_view key) const;
    const Answer *Find(uint64_t tag) const;

    std::function<void(int, uint64_t, ReplyView)> on_reply;
    std::vector<int> ready;
    std::vector<Down> downs;
    std::vector<Answer> answers;
    std::vector<std::string> invalidated;
    std::vector<std::string> recalls;
    int all_invalidated = 0;
    int no_sentinel = 0;
};

// Turns a Node and the participants.
class Loop {
  public:
    explicit Loop(Node &node) : node_(node) {}
    void Add(Participant &participant) { participants_.push_back(&participant); }
    void Turn();
    // False, and a failure of the test, when the state is not reached.
    bool Until(const std::function<bool()> &reached, const char *what);
    bool UntilReady(int lane);
    bool UntilAllReady();
    void Send(int lane, uint64_t tag, const std::vector<std::string_view> &argv);

  private:
    Node &node_;
    std::vector<Participant *> participants_;
};

// A TCP peer that answers commands as a test says. It plays an honest, simple server; `answer` may
// replace any answer, or end the connection.
class Peer : public Participant {
  public:
    struct Link {
        int fd = -1;
        int number = 0;  // in the order of accepting, from 0
        std::string input;
        std::string output;
        bool subscribed = false;
        bool close_after_output = false;
    };
    using Argv = std::vector<std::string>;
    // True when it has dealt with the command.
    using Answer = std::function<bool(Link &, const Argv &)>;

    Peer();
    ~Peer() override;
    Address address() const;
    void Say(int link, std::string_view bytes);
    int accepted() const { return accepted_; }
    void AddSockets(std::vector<pollfd> &sockets) const override;
    void OnEvents(const pollfd &event) override;

    Answer answer;
    bool accepting = true;
    std::vector<Argv> seen;  // every command, of all connections

  private:
    void Honest(Link &link, const Argv &argv);
    uint16_t port_ = 0;  // before listener_, which sets it
    int listener_ = -1;
    int accepted_ = 0;
    std::vector<std::unique_ptr<Link>> links_;
};

// Between a Node and a Server. A held connection's bytes to the server are kept back, and stay on
// their way when the client has closed: what a slow network does.
class DelayedRoad : public Participant {
  public:
    explicit DelayedRoad(const Server &server);
    ~DelayedRoad() override;
    Address address() const;
    void Hold(int link) { held_ = link; }
    void LetGo() { held_ = -1; }
    bool ServerClosed(int link) const;
    size_t HeldBytes(int link) const;
    std::string Received(int link) const;  // from the server, after LetGo() as well
    void AddSockets(std::vector<pollfd> &sockets) const override;
    void OnEvents(const pollfd &event) override;

  private:
    struct Way {
        int client = -1;
        int server = -1;
        std::string to_server;
        std::string to_client;
        std::string received;
        bool server_closed = false;
    };
    std::string server_path_;
    uint16_t port_ = 0;  // before listener_, which sets it
    int listener_ = -1;
    int held_ = -1;
    std::vector<std::unique_ptr<Way>> ways_;
};

}  // namespace inventory_lock::redis::test
