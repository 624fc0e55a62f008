// Names, hints and classification of Redis trouble; see trouble.hpp. Runs in: the worker; pure C++.
//
// Error replies begin with a code word in capitals, except that Redis 6 wraps the error of a
// command that failed in a script ("ERR Error running script (call to …): … -OOM command not
// allowed …"), and that refusals by ACL inside a script have no code of their own.

#include "redis/trouble.hpp"

#include <algorithm>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

struct CodeKind {
    std::string_view code;
    TroubleKind kind;
};

constexpr CodeKind kCodes[] = {
    {"NOAUTH", TroubleKind::kAuth},        {"WRONGPASS", TroubleKind::kAuth},
    {"DENIED", TroubleKind::kAuth},  // protected mode
    {"NOPERM", TroubleKind::kPermission},  {"LOADING", TroubleKind::kLoading},
    {"READONLY", TroubleKind::kReadOnly},  {"MASTERDOWN", TroubleKind::kReadOnly},
    {"OOM", TroubleKind::kOutOfMemory},    {"MISCONF", TroubleKind::kMisconf},
    {"NOREPLICAS", TroubleKind::kMisconf}, {"BUSY", TroubleKind::kBusy},
    {"UNKILLABLE", TroubleKind::kBusy},    {"MOVED", TroubleKind::kMoved},
    {"ASK", TroubleKind::kMoved},          {"CLUSTERDOWN", TroubleKind::kMoved},
    {"CROSSSLOT", TroubleKind::kMoved},    {"TRYAGAIN", TroubleKind::kMoved},
};

// What the text of an "ERR …" reply says, when it is one of those that need sorting.
constexpr CodeKind kPhrases[] = {
    {"The user executing the script can't", TroubleKind::kPermission},
    {"ACL failure in script", TroubleKind::kPermission},
    {"invalid password", TroubleKind::kAuth},
    {"without any password configured", TroubleKind::kAuth},
    {"no password is set", TroubleKind::kAuth},
    {"max number of clients reached", TroubleKind::kClosed},
};

constexpr std::string_view kWrapped = "Error running script";

std::string_view FirstWord(std::string_view text) {
    return text.substr(0, text.find(' '));
}

TroubleKind KindOfCode(std::string_view code) {
    for (const CodeKind &entry : kCodes) {
        if (entry.code == code) {
            return entry.kind;
        }
    }
    return TroubleKind::kOther;
}

}  // namespace

const char *TroubleName(TroubleKind kind) noexcept {
    switch (kind) {
        case TroubleKind::kNone:
            return "none";
        case TroubleKind::kRefused:
            return "refused";
        case TroubleKind::kUnreachable:
            return "unreachable";
        case TroubleKind::kTimeout:
            return "timeout";
        case TroubleKind::kClosed:
            return "closed";
        case TroubleKind::kProtocol:
            return "protocol";
        case TroubleKind::kAuth:
            return "auth";
        case TroubleKind::kPermission:
            return "permission";
        case TroubleKind::kLoading:
            return "loading";
        case TroubleKind::kReadOnly:
            return "read_only";
        case TroubleKind::kOutOfMemory:
            return "out_of_memory";
        case TroubleKind::kMisconf:
            return "misconf";
        case TroubleKind::kBusy:
            return "busy";
        case TroubleKind::kMoved:
            return "moved";
        case TroubleKind::kOther:
            return "other";
    }
    return "other";
}

const char *TroubleHint(TroubleKind kind) noexcept {
    switch (kind) {
        case TroubleKind::kRefused:
            return "Check that Redis runs and that inventory_lock.redis_url names its host and "
                   "port "
                   "or its socket.";
        case TroubleKind::kUnreachable:
            return "Check the host name in inventory_lock.redis_url, the network and the firewall.";
        case TroubleKind::kTimeout:
            return "Look for slow commands and load on the Redis server, or raise "
                   "inventory_lock.redis_command_timeout.";
        case TroubleKind::kClosed:
            return "Look in the log of the Redis server for the reason, and at its \"maxclients\" "
                   "and "
                   "\"timeout\".";
        case TroubleKind::kProtocol:
            return "Check that inventory_lock.redis_url leads to a Redis server without TLS and "
                   "not to "
                   "some other service.";
        case TroubleKind::kAuth:
            return "Check the user in inventory_lock.redis_url and the password in the file that "
                   "inventory_lock.redis_password_file names.";
        case TroubleKind::kPermission:
            return "Give the Redis user the commands, keys and channels that the documentation "
                   "lists.";
        case TroubleKind::kLoading:
            return "Redis is reading its data set; it will be used as soon as it is done.";
        case TroubleKind::kReadOnly:
            return "This server is a replica; let inventory_lock.redis_url name the primary.";
        case TroubleKind::kOutOfMemory:
            return "Raise \"maxmemory\" of the Redis server, or free memory there.";
        case TroubleKind::kMisconf:
            return "Redis takes no writes: it cannot save its data set (look in its log, at its "
                   "disk and at \"stop-writes-on-bgsave-error\") or has fewer replicas than "
                   "\"min-replicas-to-write\".";
        case TroubleKind::kBusy:
            return "A script keeps Redis busy; SCRIPT KILL ends one that has not written yet.";
        case TroubleKind::kMoved:
            return "This server is a node of a Redis Cluster, which is not supported; let "
                   "inventory_lock.redis_url name a Redis server of its own.";
        case TroubleKind::kNone:
        case TroubleKind::kOther:
            break;
    }
    return "";
}

TroubleKind ClassifyErrorReply(std::string_view text) noexcept {
    const TroubleKind kind = KindOfCode(FirstWord(text));
    if (kind != TroubleKind::kOther) {
        return kind;
    }
    for (const CodeKind &entry : kPhrases) {
        if (text.find(entry.code) != std::string_view::npos) {
            return entry.kind;
        }
    }
    if (text.find(kWrapped) == std::string_view::npos) {
        return TroubleKind::kOther;
    }
    for (size_t at = text.find(" -"); at != std::string_view::npos; at = text.find(" -", at + 2)) {
        const TroubleKind inner = KindOfCode(FirstWord(text.substr(at + 2)));
        if (inner != TroubleKind::kOther) {
            return inner;
        }
    }
    return TroubleKind::kOther;
}

Trouble TroubleOfReply(std::string_view text) {
    return Trouble{ClassifyErrorReply(text), Printable(text)};
}

std::string Printable(std::string_view bytes) {
    std::string text(bytes.substr(0, kMaxTroubleBytes));
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7F; }, '?');
    return text;
}

}  // namespace inventory_lock::redis
