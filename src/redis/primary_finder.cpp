// Conversation with Redis Sentinel; see primary_finder.hpp. Runs in: the worker; pure C++.

#include "redis/primary_finder.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "redis/lane.hpp"

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr int64_t kAskServed_us = 1000000;
constexpr int64_t kAskUnserved_us = 100000;
constexpr int64_t kUnservedPatience_us = 1000000;
constexpr int64_t kFirstPause_us = 1000000;
constexpr int64_t kLastPause_us = 8000000;
constexpr int64_t kLastResolve_us = 30000000;
constexpr int64_t kBetweenConnects_us = 20000;
constexpr size_t kMaxReplyBytes = 4096;
constexpr size_t kMaxHostBytes = 255;

std::optional<HostPort> ParsePrimary(ReplyView reply);

}  // namespace

PrimaryFinder::PrimaryFinder(NodeCommon &common)
    : common_(common),
      connection_(kMaxReplyBytes),
      sentinels_(common.options.address.sentinels.size()),
      pause_us_(kFirstPause_us) {}

int64_t PrimaryFinder::Step(int64_t now_us, bool served) {
    if (served_ && !served) {
        ask_us_ = now_us;
        unserved_since_us_ = now_us;
    }
    served_ = served;
    switch (connection_.state()) {
        case Connect::kClosed:
            if (now_us >= connect_us_) {
                Connect(now_us);
            }
            break;
        case Connect::kConnecting:
            if (now_us >= deadline_us_) {
                Next({TroubleKind::kUnreachable, "the connection was not made in time"}, now_us);
            }
            break;
        case Connect::kOpen:
            if (IsOverdue(now_us)) {
                Read(now_us);  // it may be we who are late
            }
            if (IsOverdue(now_us)) {
                Next({TroubleKind::kTimeout, "an answer did not come in time"}, now_us);
            } else if (connection_.state() == Connect::kOpen && connection_.pending().empty() &&
                       now_us >= ask_us_) {
                if (!served_ && now_us - unserved_since_us_ >= kUnservedPatience_us) {
                    failed_ = 0;  // it has answered; but another one may know better
                    Next({}, now_us);
                } else {
                    Ask(now_us);
                }
            }
            break;
    }
    switch (connection_.state()) {
        case Connect::kClosed:
            return connect_us_;
        case Connect::kConnecting:
            return deadline_us_;
        case Connect::kOpen:
            break;
    }
    return connection_.pending().empty() ? ask_us_ : connection_.pending().front().deadline_us;
}

void PrimaryFinder::OnSocket(bool readable, bool writable, int64_t now_us) {
    if (connection_.state() == Connect::kConnecting) {
        Trouble trouble;
        if (!connection_.FinishConnect(trouble)) {
            Next(trouble, now_us);
        } else if (connection_.state() == Connect::kOpen) {
            Ask(now_us);
        }
        return;
    }
    if (writable) {
        connection_.Write();
    }
    if (readable) {
        Read(now_us);
    }
}

void PrimaryFinder::AppendSockets(std::vector<Socket> &sockets) const {
    if (connection_.fd() >= 0) {
        sockets.push_back({connection_.fd(), connection_.wants_write()});
    }
}

std::optional<HostPort> PrimaryFinder::TakeNews() {
    return std::exchange(news_, false) ? std::optional<HostPort>(primary_) : std::nullopt;
}

std::optional<Trouble> PrimaryFinder::TakeTrouble() {
    return std::exchange(trouble_, std::nullopt);
}

void PrimaryFinder::Pause::Begin(int64_t now_us) {
    const bool anew = length_us == 0 || now_us > next_us + kLastResolve_us;
    length_us = anew ? kFirstPause_us : std::min(2 * length_us, kLastResolve_us);
    next_us = now_us + length_us;
}

void PrimaryFinder::Connect(int64_t now_us) {
    authenticated_ = false;
    unserved_since_us_ = now_us;
    connected_us_ = now_us;
    deadline_us_ = now_us + common_.options.connect_timeout_us;
    Sentinel &sentinel = sentinels_[sentinel_];
    if (sentinel.stale && now_us >= sentinel.pause.next_us) {
        std::vector<Endpoint> endpoints =
            Resolve(common_.options.address.sentinels[sentinel_], sentinel.trouble);
        if (!endpoints.empty()) {
            sentinel.endpoints = std::move(endpoints);
            sentinel.stale = false;
        }
        sentinel.pause.Begin(now_us);
    }
    common_.socket_generation++;
    Trouble trouble = sentinel.trouble;
    if (sentinel.endpoints.empty() || !connection_.Open(sentinel.endpoints[endpoint_], trouble)) {
        Next(trouble, now_us);
    } else if (connection_.state() == redis::Connect::kOpen) {
        Ask(now_us);
    }
}

void PrimaryFinder::Ask(int64_t now_us) {
    Queue(redis::Step::kCommand,
          {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", common_.options.address.primary}, now_us);
}

void PrimaryFinder::Queue(redis::Step step, const std::vector<std::string_view> &argv,
                          int64_t now_us) {
    Pending pending;
    pending.step = step;
    pending.sent_us = now_us;
    pending.deadline_us = now_us + common_.options.command_timeout_us;
    connection_.Queue(pending, argv);
}

void PrimaryFinder::Read(int64_t now_us) {
    while (connection_.state() == redis::Connect::kOpen) {
        Trouble end;
        const Received received = connection_.Read(end);
        if (received == Received::kNothing) {
            return;
        }
        Trouble trouble;
        while (const ReplyOwner reply = connection_.Take(trouble)) {
            if (connection_.pending().empty()) {
                Next({TroubleKind::kProtocol, "the server sent a reply that nobody asked for"},
                     now_us);
                return;
            }
            const redis::Step step = connection_.pending().front().step;
            connection_.pending().pop_front();
            OnReply(step, ReplyView(reply.get()), now_us);
            if (connection_.state() != redis::Connect::kOpen) {
                return;
            }
        }
        if (trouble.kind != TroubleKind::kNone || received == Received::kEnd) {
            Next(trouble.kind != TroubleKind::kNone ? trouble : end, now_us);
            return;
        }
        if (received == Received::kLast) {
            return;
        }
    }
}

void PrimaryFinder::OnReply(redis::Step step, ReplyView reply, int64_t now_us) {
    const NodeOptions &options = common_.options;
    if (step == redis::Step::kAuth) {
        if (reply.IsError()) {  // whose text may repeat the password
            Next({TroubleKind::kAuth, "AUTH was answered with an error"}, now_us);
        }
        return;
    }
    const bool wants_password =
        reply.IsError() && ClassifyErrorReply(reply.Text()) == TroubleKind::kAuth;
    if (wants_password && !options.password.empty() && !authenticated_) {
        authenticated_ = true;
        if (options.address.user.empty()) {
            Queue(redis::Step::kAuth, {"AUTH", options.password}, now_us);
        } else {
            Queue(redis::Step::kAuth, {"AUTH", options.address.user, options.password}, now_us);
        }
        Ask(now_us);
    } else if (reply.IsError()) {
        Next(TroubleOfReply(reply.Text()), now_us);
    } else if (reply.IsNil()) {
        Next({TroubleKind::kOther, "it does not know the primary"}, now_us);
    } else {
        OnAddress(reply, now_us);
    }
}

void PrimaryFinder::OnAddress(ReplyView reply, int64_t now_us) {
    std::optional<HostPort> primary = ParsePrimary(reply);
    if (!primary) {
        Next({TroubleKind::kProtocol, "the reply has an unknown form"}, now_us);
        return;
    }
    failed_ = 0;
    pause_us_ = kFirstPause_us;
    ask_us_ = now_us + (served_ ? kAskServed_us : kAskUnserved_us);
    const bool moved = primary->host != primary_.host || primary->port != primary_.port;
    if (moved) {
        unserved_since_us_ = now_us;
        name_pause_ = {};
    }
    if (moved || (!served_ && now_us >= name_pause_.next_us)) {
        news_ = true;
        name_pause_.Begin(now_us);
    }
    primary_ = std::move(*primary);
}

// Leaves this Sentinel for the next one.
void PrimaryFinder::Next(const Trouble &trouble, int64_t now_us) {
    const std::vector<HostPort> &sentinels = common_.options.address.sentinels;
    const std::string who = sentinels[sentinel_].Text();
    connection_.Close();
    common_.socket_generation++;
    connect_us_ = std::max(now_us, connected_us_ + kBetweenConnects_us);
    if (++endpoint_ < sentinels_[sentinel_].endpoints.size()) {
        return;  // of the same name
    }
    endpoint_ = 0;
    sentinels_[sentinel_].stale = true;
    sentinel_ = (sentinel_ + 1) % sentinels.size();
    if (trouble.kind != TroubleKind::kNone && ++failed_ >= sentinels.size()) {
        failed_ = 0;
        connect_us_ = now_us + pause_us_;
        pause_us_ = std::min(2 * pause_us_, kLastPause_us);
        trouble_ = Trouble{trouble.kind, Printable("Sentinel at " + who + ": " + trouble.text)};
    }
}

bool PrimaryFinder::IsOverdue(int64_t now_us) const {
    return !connection_.pending().empty() && connection_.pending().front().deadline_us <= now_us;
}

namespace {

std::optional<HostPort> ParsePrimary(ReplyView reply) {
    if (!reply.IsArray() || reply.size() != 2) {
        return std::nullopt;
    }
    HostPort primary;
    primary.host = std::string(reply[0].Text());
    const std::string_view digits = reply[1].Text();
    const char *end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, primary.port);
    if (primary.host.empty() || primary.host.size() > kMaxHostBytes ||
        primary.host != Printable(primary.host) || error != std::errc() || stop != end ||
        primary.port == 0) {
        return std::nullopt;
    }
    return primary;
}

}  // namespace

}  // namespace inventory_lock::redis
