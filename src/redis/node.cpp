// A Redis server's lanes under one roof; see node.hpp. Runs in: the worker; pure C++.

#include "redis/node.hpp"

#include <string.h>  // explicit_bzero

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "redis/endpoint.hpp"
#include "redis/lane.hpp"
#include "redis/primary_finder.hpp"

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr int kMaxLanes = 16;
constexpr int64_t kFirstResolve_us = 1000000;
constexpr int64_t kLastResolve_us = 30000000;

// Whom a lane succeeds. Keys are spread over the lanes by their number; after a change of it any
// old connection may have sent for any key, and every lane waits for all of them.
Predecessors PredecessorsOf(int lane, const NodeOptions &options) {
    Predecessors predecessors;
    predecessors.run_id = options.old_run_id;
    const std::vector<int64_t> &old = options.old_client_ids;
    if (old.size() == static_cast<size_t>(options.lanes)) {
        predecessors.client_ids = {old[static_cast<size_t>(lane)]};
    } else {
        predecessors.client_ids = old;
    }
    auto &ids = predecessors.client_ids;
    ids.erase(std::remove_if(ids.begin(), ids.end(), [](int64_t id) { return id <= 0; }),
              ids.end());
    return predecessors;
}

}  // namespace

class Node::Impl {
  public:
    Impl(NodeOptions options, NodeEvents &owner) : events(owner) {
        common.options = std::move(options);
        where = common.options.address.Text();
        common.options.lanes = std::clamp(common.options.lanes, 1, kMaxLanes);
        common.endpoints = Resolve(common.options.address, common.resolve_trouble);
        if (common.options.address.transport == Transport::kSentinel) {
            finder.emplace(common);
        }
        for (int i = 0; i < common.options.lanes; i++) {
            lanes.push_back(
                std::make_unique<Lane>(i, PredecessorsOf(i, common.options), common, events));
        }
    }
    ~Impl() { explicit_bzero(common.options.password.data(), common.options.password.size()); }
    Impl(const Impl &) = delete;
    Impl &operator=(const Impl &) = delete;

    Lane *At(int lane) const {
        return lane >= 0 && lane < common.options.lanes ? lanes[static_cast<size_t>(lane)].get()
                                                        : nullptr;
    }

    bool AnyReady() const {
        return std::any_of(lanes.begin(), lanes.end(),
                           [](const auto &lane) { return lane->state() == LaneState::kReady; });
    }

    void ResolveAgain(int64_t now_us) {
        if (!finder) {
            Trouble trouble;
            Adopt(Resolve(common.options.address, trouble), trouble,
                  "the host name stands for another address now", now_us);
        }
    }

    // Endpoints that were resolved anew; none, and why, when that failed.
    void Adopt(std::vector<Endpoint> endpoints, const Trouble &trouble, const char *reason,
               int64_t now_us) {
        if (endpoints.empty()) {
            common.resolve_trouble = trouble;
            return;
        }
        common.endpoints = std::move(endpoints);
        for (const auto &lane : lanes) {
            lane->LeaveOldEndpoint({TroubleKind::kNone, reason}, now_us);  // it has done no wrong
        }
    }

    // What Sentinel has said since.
    void HearFinder(int64_t now_us) {
        if (const std::optional<Trouble> trouble = finder->TakeTrouble()) {
            if (common.endpoints.empty()) {
                common.resolve_trouble = *trouble;
            }
            events.OnNoSentinel(*trouble);
        }
        if (const std::optional<HostPort> primary = finder->TakeNews()) {
            OnNews(*primary, now_us);
        }
    }

    void OnNews(const HostPort &primary, int64_t now_us) {
        constexpr const char *kMoved = "Sentinel names another primary now";
        const std::string text =
            primary.Text() + "/" + std::to_string(common.options.address.database);
        const bool moved = where != text;
        Trouble trouble;
        std::vector<Endpoint> endpoints = Resolve(primary, trouble);
        if (!endpoints.empty()) {
            Adopt(std::move(endpoints), trouble, kMoved, now_us);
        } else {
            common.resolve_trouble = trouble;
            if (moved) {  // wherever it is, it is not where the lanes are
                common.endpoints.clear();
                for (const auto &lane : lanes) {
                    lane->LeaveOldEndpoint({TroubleKind::kNone, kMoved}, now_us);
                }
            }
        }
        if (moved) {
            where = text;
            for (const auto &lane : lanes) {
                lane->TryNow(now_us);
            }
            events.OnPrimary();
        }
    }

    // Returns when to resolve the name, or to ask Sentinel, again.
    int64_t ResolveIfDue(int64_t now_us) {
        const bool ready = AnyReady();
        if (finder) {
            const int64_t next_us = finder->Step(now_us, ready && !refuses);
            HearFinder(now_us);
            return next_us;
        }
        if (ready) {
            resolve_us = std::numeric_limits<int64_t>::max();
            resolve_pause_us = kFirstResolve_us;
        } else if (resolve_us == std::numeric_limits<int64_t>::max()) {
            resolve_us = now_us + resolve_pause_us;
        } else if (now_us >= resolve_us) {
            ResolveAgain(now_us);
            resolve_pause_us = std::min(2 * resolve_pause_us, kLastResolve_us);
            resolve_us = now_us + resolve_pause_us;
        }
        return resolve_us;
    }

    NodeEvents &events;
    NodeCommon common;
    std::string where;
    std::optional<PrimaryFinder> finder;  // where Sentinel is asked
    bool refuses = false;
    std::vector<std::unique_ptr<Lane>> lanes;
    int64_t resolve_us = std::numeric_limits<int64_t>::max();
    int64_t resolve_pause_us = kFirstResolve_us;
};

Node::Node(NodeOptions options, NodeEvents &events)
    : impl_(std::make_unique<Impl>(std::move(options), events)) {}

Node::~Node() = default;

void Node::ResolveAgain(int64_t now_us) {
    impl_->ResolveAgain(now_us);
}

bool Node::Send(int lane, uint64_t tag, const std::vector<std::string_view> &argv, int64_t now_us) {
    Lane *target = impl_->At(lane);
    return target != nullptr && !argv.empty() && target->Send(tag, argv, now_us);
}

int64_t Node::Step(int64_t now_us) {
    int64_t next_us = impl_->ResolveIfDue(now_us);
    for (const auto &lane : impl_->lanes) {
        next_us = std::min(next_us, lane->Step(now_us));
    }
    return next_us;
}

void Node::Flush(int64_t) {
    if (impl_->finder) {
        impl_->finder->Flush();
    }
    for (const auto &lane : impl_->lanes) {
        lane->Flush();
    }
}

bool Node::OnSocket(int fd, bool readable, bool writable, int64_t now_us) {
    if (impl_->finder && impl_->finder->Owns(fd)) {
        impl_->finder->OnSocket(readable, writable, now_us);
        impl_->HearFinder(now_us);
        return true;
    }
    for (const auto &lane : impl_->lanes) {
        if (lane->Owns(fd)) {
            lane->OnSocket(fd, readable, writable, now_us);
            return true;
        }
    }
    return false;
}

std::vector<Socket> Node::Sockets() const {
    std::vector<Socket> sockets;
    sockets.reserve(impl_->lanes.size() * 2 + 1);
    if (impl_->finder) {
        impl_->finder->AppendSockets(sockets);
    }
    for (const auto &lane : impl_->lanes) {
        lane->AppendSockets(sockets);
    }
    return sockets;
}

uint64_t Node::socket_generation() const {
    return impl_->common.socket_generation;
}

void Node::NoteRefusal(bool refuses) {
    impl_->refuses = refuses;
}

void Node::Drop(int lane, const Trouble &trouble, int64_t now_us) {
    if (Lane *target = impl_->At(lane)) {
        target->Drop(trouble, now_us);
    }
}

int Node::lanes() const {
    return impl_->common.options.lanes;
}

LaneState Node::state(int lane) const {
    const Lane *target = impl_->At(lane);
    return target != nullptr ? target->state() : LaneState::kDown;
}

LaneStatus Node::status(int lane) const {
    const Lane *target = impl_->At(lane);
    return target != nullptr ? target->status() : LaneStatus();
}

uint64_t Node::commands_sent() const {
    return impl_->common.commands_sent;
}

const std::string &Node::where() const {
    return impl_->where;
}

bool Node::resolved() const {
    return !impl_->common.endpoints.empty();
}

std::vector<int64_t> Node::client_ids_to_kill() const {
    std::vector<int64_t> ids;
    for (const auto &lane : impl_->lanes) {
        const std::vector<int64_t> &some = lane->predecessors().client_ids;
        ids.insert(ids.end(), some.begin(), some.end());
        if (some.empty()) {
            ids.push_back(0);
        }
    }
    return ids;
}

const std::string &Node::run_id() const {
    return impl_->common.run_id;
}

}  // namespace inventory_lock::redis
