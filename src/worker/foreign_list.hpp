// Lists the locks that others hold, by asking the server that redis_replica_url names.
//
// Runs in: the worker, single-threaded, never blocking. One connection pair of its own, so that
// neither the lanes of the locks nor their server notice. A list is made when a backend asks; who
// asks while one is being made waits for the next, for the present one may have passed his key by.
//
//   asked ──► SCAN, step by step, with value and TTL of each lock ──► published ──► answered
//     └─ no connection, an error, a time-out ──────────────────────► answered: unavailable
//
// Locks of this cluster are left out: the lease table knows more of them, and sooner. A backend
// that gave up costs nothing but the step that is under way.

#pragma once

#include <memory>
#include <unordered_set>

#include "redis/node.hpp"
#include "shared/state.hpp"

namespace inventory_lock::worker {

class ForeignList final : public redis::NodeEvents {
  public:
    // `our_prefix`: what every token of this cluster begins with.
    explicit ForeignList(std::string our_prefix) : our_prefix_(std::move(our_prefix)) {}

    // Asks this server from now on (nullptr: nobody). Whoever waits is told: unavailable.
    void Use(std::unique_ptr<redis::NodeOptions> options);

    // Resolves its host name again; may block.
    void ResolveAgain(int64 now_us);

    // A backend's request for a list, in slot `slot`, which is Taken.
    void Want(int32 slot, uint64 number, int64 now_us);

    int64 Step(int64 now_us);  // returns when to call again
    void Flush(int64 now_us);
    std::vector<redis::Socket> Sockets() const;
    uint64 socket_generation() const;
    void OnSocket(int fd, bool readable, bool writable, int64 now_us);

  private:
    struct Asker {
        int32 slot;
        uint64 number;
    };

    void OnLaneReady(int lane) override;
    void OnLaneDown(int lane, const redis::Trouble &trouble) override;
    void OnReply(int lane, uint64_t tag, redis::ReplyView reply) override;
    void OnInvalidated(int, std::string_view) override {}
    void OnAllInvalidated(int) override {}
    void OnRecall(int, std::string_view) override {}

    void Begin();
    void AskFrom(std::string_view cursor);
    void Add(redis::ReplyView key, redis::ReplyView token, redis::ReplyView pttl);
    void Publish();
    void Answer(std::vector<Asker> *askers, shared::Outcome outcome);
    void Report();

    std::string our_prefix_;
    std::unique_ptr<redis::Node> node_;
    std::string endpoint_;
    std::string last_error_;  // of the latest list, "" when it was made
    bool told_down_ = false;
    std::vector<Asker> waiting_;  // for the next list
    std::vector<Asker> served_;   // by the one being made
    bool making_ = false;
    uint64 tag_ = 0;
    std::vector<shared::ForeignLock> found_;
    std::unordered_set<std::string> seen_;  // SCAN may name a key twice
    bool more_ = false;
    uint64 closed_generations_ = 0;
    int64 now_us_ = 0;
};

}  // namespace inventory_lock::worker
