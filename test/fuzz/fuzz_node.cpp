// Fuzzes a Node with what a peer may say on its two connections. A Unix socket in a temporary
// folder plays the server. The byte 0xFE ends a piece of the input; a piece is said in one turn of
// the loop, on the subscriber's connection when it begins with 's', else on the other. The owner
// sends a command when a lane is ready, and drops the lane at some of the answers. Checked: no
// crash, no sanitizer report, every end of a lane is told once, no answer without a question.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "redis/node.hpp"

namespace {

namespace redis = inventory_lock::redis;

void Require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

class Owner : public redis::NodeEvents {
  public:
    void OnLaneReady(int lane) override {
        ready++;
        for (int i = 0; i < 3; i++) {
            sent += node->Send(lane, sent, {"GET", "key"}, now_us);
        }
    }
    void OnLaneDown(int, const redis::Trouble &trouble) override {
        Require(trouble.kind != redis::TroubleKind::kNone);
        downs++;
    }
    void OnReply(int lane, uint64_t tag, redis::ReplyView reply) override {
        Require(tag == answered && answered < sent);
        answered++;
        if (reply.Integer() == 13) {
            node->Drop(lane, {redis::TroubleKind::kProtocol, "unlucky"}, now_us);
        }
    }
    void OnInvalidated(int lane, std::string_view key) override {
        if (key == "drop") {
            node->Drop(lane, {redis::TroubleKind::kProtocol, "unlucky"}, now_us);
        }
    }
    void OnAllInvalidated(int) override {}
    void OnRecall(int, std::string_view) override {}

    redis::Node *node = nullptr;
    int64_t now_us = 1;
    uint64_t sent = 0;
    uint64_t answered = 0;
    int ready = 0;
    int downs = 0;
};

// Where the peer listens; made once, removed at the end.
struct Listener {
    Listener() {
        const char *parent = std::getenv("TMPDIR");
        path = std::string(parent != nullptr ? parent : "/tmp") + "/il_fuzz_XXXXXX";
        Require(mkdtemp(path.data()) != nullptr);
        path += "/s";
        sockaddr_un name = {};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path.data(), path.size());
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        Require(bind(fd, reinterpret_cast<sockaddr *>(&name), sizeof(name)) == 0);
        Require(listen(fd, 16) == 0);
    }
    ~Listener() {
        close(fd);
        unlink(path.c_str());
        rmdir(path.substr(0, path.size() - 2).c_str());
    }
    Listener(const Listener &) = delete;
    Listener &operator=(const Listener &) = delete;
    std::string path;
    int fd = -1;
};

void Turn(redis::Node &node, Owner &owner) {
    node.Step(owner.now_us);
    node.Flush(owner.now_us);
    for (const redis::Socket &socket : node.Sockets()) {
        node.OnSocket(socket.fd, true, true, owner.now_us);
    }
    owner.now_us += 1;  // so little that the pause before the next attempt never ends
}

// Sends, and takes what the node has said off the socket.
void Say(int fd, std::string_view bytes) {
    (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    char heard[4096];
    while (recv(fd, heard, sizeof(heard), MSG_DONTWAIT) > 0) {
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const Listener listener;
    std::string_view bytes(reinterpret_cast<const char *>(data), size);

    redis::NodeOptions options;
    options.address.transport = redis::Transport::kUnix;
    options.address.path = listener.path;
    options.lanes = 1;
    options.max_reply_bytes = 2048;
    options.password = "s3cret";
    options.recall_channel = "recall";
    options.scripts = {"return 1"};
    Owner owner;
    redis::Node node(options, owner);
    owner.node = &node;
    Turn(node, owner);
    const int data_fd = accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const int subscriber_fd = accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, bytes.find('\xFE'));
        bytes.remove_prefix(std::min(bytes.size(), piece.size() + 1));
        if (!piece.empty()) {
            Say(piece[0] == 's' ? subscriber_fd : data_fd, piece.substr(1));
        }
        Turn(node, owner);
    }
    Turn(node, owner);
    close(data_fd);
    close(subscriber_fd);
    Turn(node, owner);
    Turn(node, owner);
    Require(owner.downs == 1 && owner.ready <= 1);
    Require(node.status(0).state == redis::LaneState::kDown);
    Require(node.status(0).last_trouble.text.find("s3cret") == std::string::npos);
    return 0;
}
