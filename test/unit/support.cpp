// Clock, servers, clients and the loop of the unit tests; see support.hpp.

#include "support.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace inventory_lock::redis::test {

int64_t Now_us() {
    timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000;
}

Folder::Folder() {
    const char *parent = std::getenv("TMPDIR");
    path_ = std::string(parent != nullptr ? parent : "/tmp") + "/il_unit_XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) {
        throw std::runtime_error("mkdtemp: " + path_);
    }
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

Server::Server(std::vector<std::string> arguments)
    : socket_path_(folder_.path() + "/redis.sock"), arguments_(std::move(arguments)) {
    Start();
}

Server::~Server() {
    Stop();
}

void Server::Start(const std::vector<std::string> &more_arguments) {
    std::vector<std::string> words = {"redis-server",
                                      "--port",
                                      "0",
                                      "--unixsocket",
                                      socket_path_,
                                      "--save",
                                      "",
                                      "--appendonly",
                                      "no",
                                      "--dir",
                                      folder_.path(),
                                      "--logfile",
                                      folder_.path() + "/log",
                                      "--enable-debug-command",
                                      "yes"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    words.insert(words.end(), more_arguments.begin(), more_arguments.end());
    std::vector<char *> argv;
    for (std::string &word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    unlink(socket_path_.c_str());
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        execvp(argv[0], argv.data());
        _exit(127);
    }
    const int64_t limit = Now_us() + kPatience_us;
    while (!Accepts()) {
        if (Now_us() > limit || waitpid(pid_, nullptr, WNOHANG) == pid_) {
            throw std::runtime_error("redis-server does not start; is it installed?");
        }
        poll(nullptr, 0, 2);
    }
}

void Server::Stop() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
}

bool Server::Accepts() const {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, socket_path_.data(), socket_path_.size());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool accepts = connect(fd, reinterpret_cast<sockaddr *>(&name), sizeof(name)) == 0;
    close(fd);
    return accepts;
}

Address Server::address() const {
    Address address;
    address.transport = Transport::kUnix;
    address.path = socket_path_;
    return address;
}

Client::Client(const Server &server) : context_(redisConnectUnix(server.socket_path().c_str())) {
    if (!context_ || context_->err != 0) {
        throw std::runtime_error("a client cannot connect");
    }
    redisSetTimeout(context_.get(), timeval{20, 0});
}

void Client::Post(const std::vector<std::string_view> &argv) {
    std::vector<const char *> words;
    std::vector<size_t> lengths;
    for (const std::string_view word : argv) {
        words.push_back(word.data());
        lengths.push_back(word.size());
    }
    redisAppendCommandArgv(context_.get(), static_cast<int>(argv.size()), words.data(),
                           lengths.data());
    int done = 0;
    while (done == 0) {
        if (redisBufferWrite(context_.get(), &done) != REDIS_OK) {
            throw std::runtime_error("a client cannot send");
        }
    }
}

ReplyOwner Client::Next() {
    void *reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) {
        throw std::runtime_error(std::string("a client got no answer: ") + context_->errstr);
    }
    return ReplyOwner(static_cast<redisReply *>(reply));
}

ReplyOwner Client::Do(const std::vector<std::string_view> &argv) {
    Post(argv);
    return Next();
}

std::string Client::Text(const std::vector<std::string_view> &argv) {
    const ReplyOwner reply = Do(argv);
    const ReplyView view(reply.get());
    return view.IsNil() ? "(nil)" : std::string(view.Text());
}

int64_t Client::Integer(const std::vector<std::string_view> &argv) {
    const ReplyOwner reply = Do(argv);
    return ReplyView(reply.get()).Integer().value_or(-1000);
}

ReplyOwner Client::Call(const Command &command) {
    ReplyOwner reply = Do(command.Argv());
    if (ReplyView(reply.get()).Text().substr(0, 8) == "NOSCRIPT") {
        reply = Do(command.WithText().Argv());
    }
    return reply;
}

AcquireAnswer Client::Acquire(const std::vector<AcquireKey> &keys, AcquireOptions options) {
    const ReplyOwner reply = Call(MakeAcquire(keys, options));
    return ParseAcquire(ReplyView(reply.get()), keys.size(), keys[0].token);
}

ExtendAnswer Client::Extend(const std::vector<ExtendKey> &keys) {
    const ReplyOwner reply = Call(MakeExtend(keys));
    return ParseExtend(ReplyView(reply.get()), keys.size(), keys[0].token);
}

ReleaseAnswer Client::Release(const ReleaseKey &key) {
    const ReplyOwner reply = Call(MakeRelease(key, 86400000));
    return ParseRelease(ReplyView(reply.get()), 1);
}

ReleaseAnswer Client::ReleaseAll(const std::vector<ReleaseKey> &keys) {
    const ReplyOwner reply = Call(MakeReleases(keys));
    return ParseRelease(ReplyView(reply.get()), keys.size());
}

RaiseAnswer Client::Raise(std::string_view key, std::string_view token, uint64_t given) {
    const ReplyOwner reply = Call(MakeRaise(key, token, given, 86400000));
    return ParseRaise(ReplyView(reply.get()));
}

uint64_t Client::Time_us() {
    const ReplyOwner reply = Do({"TIME"});
    const ReplyView view(reply.get());
    return static_cast<uint64_t>(view[0].Integer().value_or(0)) * 1000000 +
           static_cast<uint64_t>(view[1].Integer().value_or(0));
}

void Recorder::OnLaneReady(int lane) {
    ready.push_back(lane);
}

void Recorder::OnLaneDown(int lane, const Trouble &trouble) {
    downs.push_back({lane, trouble.kind, trouble.text});
}

void Recorder::OnReply(int lane, uint64_t tag, ReplyView reply) {
    std::string text(reply.Text());
    if (reply.IsArray()) {
        text = "[" + std::to_string(reply.size()) + "]";
    }
    answers.push_back({lane, tag, text, reply.IsError()});
    if (on_reply) {
        on_reply(lane, tag, reply);
    }
}

void Recorder::OnInvalidated(int, std::string_view key) {
    invalidated.emplace_back(key);
}

void Recorder::OnAllInvalidated(int) {
    all_invalidated++;
}

void Recorder::OnRecall(int, std::string_view payload) {
    recalls.emplace_back(payload);
}

bool Recorder::Invalidated(std::string_view key) const {
    return std::find(invalidated.begin(), invalidated.end(), key) != invalidated.end();
}

const Recorder::Answer *Recorder::Find(uint64_t tag) const {
    for (const Answer &answer : answers) {
        if (answer.tag == tag) {
            return &answer;
        }
    }
    return nullptr;
}

void Loop::Turn() {
    constexpr int64_t kLongestPause_us = 50000;
    const int64_t next_us = node_.Step(Now_us());
    node_.Flush(Now_us());
    std::vector<pollfd> sockets;
    for (const Socket &socket : node_.Sockets()) {
        sockets.push_back(
            {socket.fd, static_cast<short>(POLLIN | (socket.writable ? POLLOUT : 0)), 0});
    }
    const size_t own = sockets.size();
    std::vector<Participant *> owners;
    for (Participant *participant : participants_) {
        participant->AddSockets(sockets);
        owners.resize(sockets.size() - own, participant);
    }
    const int64_t pause_us = std::clamp<int64_t>(next_us - Now_us(), 0, kLongestPause_us);
    poll(sockets.data(), sockets.size(), static_cast<int>((pause_us + 999) / 1000));
    for (size_t i = 0; i < sockets.size(); i++) {
        if (sockets[i].revents == 0) {
            continue;
        }
        if (i < own) {
            const bool readable = (sockets[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
            const bool writable = (sockets[i].revents & (POLLOUT | POLLHUP | POLLERR)) != 0;
            node_.OnSocket(sockets[i].fd, readable, writable, Now_us());
        } else {
            owners[i - own]->OnEvents(sockets[i]);
        }
    }
    node_.Flush(Now_us());
}

bool Loop::Until(const std::function<bool()> &reached, const char *what) {
    const int64_t limit = Now_us() + kPatience_us;
    while (!reached()) {
        if (Now_us() > limit) {
            ADD_FAILURE() << "not reached: " << what;
            return false;
        }
        Turn();
    }
    return true;
}

bool Loop::UntilReady(int lane) {
    return Until([&] { return node_.status(lane).state == LaneState::kReady; }, "lane is ready");
}

bool Loop::UntilAllReady() {
    for (int lane = 0; lane < node_.lanes(); lane++) {
        if (!UntilReady(lane)) {
            return false;
        }
    }
    return true;
}

void Loop::Send(int lane, uint64_t tag, const std::vector<std::string_view> &argv) {
    EXPECT_TRUE(node_.Send(lane, tag, argv, Now_us()));
}

}  // namespace inventory_lock::redis::test
