// The commands of a handshake and the judgement of their replies; see handshake.hpp. Runs in: the
// worker; pure C++.

#include "redis/handshake.hpp"

#include <algorithm>
#include <limits>

#include "redis/info.hpp"

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

// No client gets as far as this number.
constexpr int64_t kNobody = std::numeric_limits<int64_t>::max();

std::optional<Trouble> Unexpected(const char *command);
std::optional<Trouble> Expect(ReplyView reply, std::string_view text, const char *command);
std::optional<Trouble> OnAuth(ReplyView reply);
std::optional<Trouble> OnScriptLoad(ReplyView reply);
bool IsTolerable(ReplyView reply);

}  // namespace

void Handshake::QueueFirstRound(Connection &data, Connection &subscriber, int64_t now_us) {
    QueueGreeting(data, now_us);
    if (options_.address.database != 0) {
        Queue(data, Step::kSelect, now_us, {"SELECT", std::to_string(options_.address.database)});
    }
    Queue(data, Step::kClientId, now_us, {"CLIENT", "ID"});
    Queue(data, Step::kInfo, now_us, {"INFO", "server"});
    if (options_.address.transport == Transport::kSentinel) {
        Queue(data, Step::kRole, now_us, {"INFO", "replication"});
    }

    QueueGreeting(subscriber, now_us);
    Queue(subscriber, Step::kClientId, now_us, {"CLIENT", "ID"});
    // One by one: denied together, both would be lost.
    Queue(subscriber, Step::kSubscribe, now_us, {"SUBSCRIBE", kInvalidateChannel});
    if (!options_.recall_channel.empty()) {
        Queue(subscriber, Step::kSubscribe, now_us, {"SUBSCRIBE", options_.recall_channel});
    }
}

void Handshake::QueueSecondRound(Connection &data, int64_t now_us) {
    std::vector<int64_t> ids = predecessors_.client_ids;
    const bool restarted =
        !run_id_.empty() && !predecessors_.run_id.empty() && run_id_ != predecessors_.run_id;
    if (ids.empty() || restarted) {
        ids = {kNobody};
    }
    for (const int64_t id : ids) {
        Queue(data, Step::kKill, now_us, {"CLIENT", "KILL", "ID", std::to_string(id)});
    }
    if (invalidations_ && subscriber_id_ != 0) {
        Queue(data, Step::kTracking, now_us,
              {"CLIENT", "TRACKING", "ON", "REDIRECT", std::to_string(subscriber_id_), "NOLOOP"});
    }
    for (const std::string &script : options_.scripts) {
        Queue(data, Step::kScriptLoad, now_us, {"SCRIPT", "LOAD", script});
    }
    Queue(data, Step::kPing, now_us, {"PING"});
}

std::optional<Trouble> Handshake::OnData(Step step, ReplyView reply) {
    return WithoutSecret(JudgeData(step, reply), reply);
}

std::optional<Trouble> Handshake::OnSubscriber(Step step, ReplyView reply) {
    return WithoutSecret(JudgeSubscriber(step, reply), reply);
}

std::optional<Trouble> Handshake::JudgeData(Step step, ReplyView reply) {
    switch (step) {
        case Step::kAuth:
            return OnAuth(reply);
        case Step::kSelect:
            return Expect(reply, "OK", "SELECT");
        case Step::kSetName:
            return IsTolerable(reply) ? std::nullopt : Expect(reply, "OK", "CLIENT SETNAME");
        case Step::kClientId:
            return OnClientId(reply, data_id_);
        case Step::kInfo:
            return OnInfo(reply);
        case Step::kRole:
            return OnRole(reply);
        case Step::kKill:
            return OnKill(reply);
        case Step::kTracking:
            return OnTracking(reply);
        case Step::kScriptLoad:
            return IsTolerable(reply) ? std::nullopt : OnScriptLoad(reply);
        case Step::kPing:
            // Where PING itself is denied, the rest has shown that the server serves.
            return reply.IsError() && ClassifyErrorReply(reply.Text()) == TroubleKind::kPermission
                       ? std::nullopt
                       : Expect(reply, "PONG", "PING");
        case Step::kSubscribe:
        case Step::kCommand:
            break;
    }
    return Unexpected("the handshake");
}

std::optional<Trouble> Handshake::JudgeSubscriber(Step step, ReplyView reply) {
    switch (step) {
        case Step::kAuth:
            return OnAuth(reply);
        case Step::kSetName:
            return IsTolerable(reply) ? std::nullopt : Expect(reply, "OK", "CLIENT SETNAME");
        case Step::kClientId:
            return OnClientId(reply, subscriber_id_);
        case Step::kSubscribe:
            return OnSubscribe(reply);
        default:
            return Unexpected("the handshake");
    }
}

std::optional<Trouble> Handshake::WithoutSecret(std::optional<Trouble> trouble,
                                                ReplyView reply) const {
    const std::string &secret = options_.password;
    if (trouble && !secret.empty() && reply.Text().find(secret) != std::string_view::npos) {
        trouble->text = "an error reply repeats the password";
    }
    return trouble;
}

void Handshake::Queue(Connection &connection, Step step, int64_t now_us,
                      const std::vector<std::string_view> &argv) const {
    Pending pending;
    pending.step = step;
    pending.sent_us = now_us;
    pending.deadline_us = now_us + options_.command_timeout_us;
    connection.Queue(pending, argv);
}

void Handshake::QueueGreeting(Connection &connection, int64_t now_us) const {
    if (!options_.password.empty() && !options_.address.user.empty()) {
        Queue(connection, Step::kAuth, now_us, {"AUTH", options_.address.user, options_.password});
    } else if (!options_.password.empty()) {
        Queue(connection, Step::kAuth, now_us, {"AUTH", options_.password});
    } else if (!options_.address.user.empty()) {
        // A user with nopass accepts any password.
        Queue(connection, Step::kAuth, now_us, {"AUTH", options_.address.user, ""});
    }
    if (!options_.client_name.empty()) {
        Queue(connection, Step::kSetName, now_us, {"CLIENT", "SETNAME", options_.client_name});
    }
}

std::optional<Trouble> Handshake::OnClientId(ReplyView reply, int64_t &id) const {
    if (IsTolerable(reply)) {
        return std::nullopt;
    }
    const std::optional<int64_t> number = reply.Integer();
    if (reply.IsError() || !number || *number <= 0) {
        return reply.IsError() ? TroubleOfReply(reply.Text()) : *Unexpected("CLIENT ID");
    }
    id = *number;
    return std::nullopt;
}

std::optional<Trouble> Handshake::OnInfo(ReplyView reply) {
    if (IsTolerable(reply)) {
        return std::nullopt;
    }
    if (reply.IsError()) {
        return TroubleOfReply(reply.Text());
    }
    if (reply.IsNil() || reply.IsArray()) {
        return Unexpected("INFO");
    }
    run_id_ = std::string(InfoField(reply.Text(), "run_id"));
    return std::nullopt;
}

std::optional<Trouble> Handshake::OnRole(ReplyView reply) {
    if (IsTolerable(reply)) {
        return std::nullopt;
    }
    if (reply.IsError()) {
        return TroubleOfReply(reply.Text());
    }
    if (InfoField(reply.Text(), "role") == "slave") {
        return Trouble{TroubleKind::kReadOnly, "Sentinel names it, but it is a replica"};
    }
    return std::nullopt;
}

std::optional<Trouble> Handshake::OnKill(ReplyView reply) {
    if (reply.Integer() || reply.Text().find("No such client") != std::string_view::npos) {
        return std::nullopt;
    }
    if (IsTolerable(reply)) {
        barrier_ = false;
        return std::nullopt;
    }
    return Expect(reply, "OK", "CLIENT KILL");
}

std::optional<Trouble> Handshake::OnTracking(ReplyView reply) {
    if (IsTolerable(reply)) {
        return std::nullopt;
    }
    tracking_ = true;
    return Expect(reply, "OK", "CLIENT TRACKING");
}

std::optional<Trouble> Handshake::OnSubscribe(ReplyView reply) {
    const bool first = subscriptions_answered_ == 0;
    subscriptions_answered_++;
    if (IsTolerable(reply)) {
        return std::nullopt;
    }
    const std::string_view channel = first ? kInvalidateChannel : options_.recall_channel;
    if (reply.IsError()) {
        return TroubleOfReply(reply.Text());
    }
    if (reply.size() != 3 || reply[0].Text() != "subscribe" || reply[1].Text() != channel) {
        return Unexpected("SUBSCRIBE");
    }
    invalidations_ = invalidations_ || first;
    return std::nullopt;
}

namespace {

std::optional<Trouble> Unexpected(const char *command) {
    return Trouble{TroubleKind::kProtocol,
                   std::string("the reply to ").append(command).append(" has an unknown form")};
}

std::optional<Trouble> Expect(ReplyView reply, std::string_view text, const char *command) {
    if (reply.IsError()) {
        return TroubleOfReply(reply.Text());
    }
    return reply.Text() == text ? std::nullopt : Unexpected(command);
}

// A server that does not know AUTH repeats its arguments in the error. So of a refusal nothing is
// passed on but its code.
std::optional<Trouble> OnAuth(ReplyView reply) {
    if (!reply.IsError()) {
        return Expect(reply, "OK", "AUTH");
    }
    constexpr size_t kMaxCodeBytes = 16;
    const std::string_view code = reply.Text().substr(0, reply.Text().find(' '));
    const bool plain =
        !code.empty() && code.size() <= kMaxCodeBytes &&
        std::all_of(code.begin(), code.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    const TroubleKind kind = ClassifyErrorReply(reply.Text());
    return Trouble{kind == TroubleKind::kOther ? TroubleKind::kAuth : kind,
                   std::string("AUTH was answered with ").append(plain ? code : "an error")};
}

std::optional<Trouble> OnScriptLoad(ReplyView reply) {
    if (reply.IsError()) {
        return TroubleOfReply(reply.Text());
    }
    constexpr size_t kShaBytes = 40;
    return reply.Text().size() == kShaBytes ? std::nullopt : Unexpected("SCRIPT LOAD");
}

// An error that costs a service and not the lane: denied, or not known.
bool IsTolerable(ReplyView reply) {
    if (!reply.IsError()) {
        return false;
    }
    const TroubleKind kind = ClassifyErrorReply(reply.Text());
    return kind == TroubleKind::kPermission || kind == TroubleKind::kOther;
}

}  // namespace

}  // namespace inventory_lock::redis
