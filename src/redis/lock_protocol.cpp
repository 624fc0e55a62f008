// Builds the calls of the scripts and reads their answers; see lock_protocol.hpp. Runs in: the
// worker; pure C++.
//
// An answer is believed only when every element has the expected type and range. Anything else is
// trouble of kind protocol, upon which the owner drops the lane.

#include "redis/lock_protocol.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr std::string_view kNoScript = "NOSCRIPT";
constexpr int64_t kNoExpiry = -1;

std::string Wrapped(std::string_view prefix, std::string_view key);
Command NewCommand(Script script, size_t key_count);
void Finish(Command &command);
bool Complain(ReplyView reply, Trouble &trouble, bool &no_script);
Trouble Nonsense(std::string_view what);
std::optional<uint64_t> Positive(ReplyView reply, uint64_t limit);
std::optional<Ownership> OwnershipOf(ReplyView reply);
bool ReadGranted(ReplyView reply, size_t key_count, AcquireAnswer &answer);
bool ReadTaken(ReplyView reply, size_t key_count, AcquireAnswer &answer);
std::optional<WaitEdge> EdgeOf(std::string_view text);

}  // namespace

std::string FenceKey(std::string_view key) {
    return Wrapped("il:fence:", key);
}

std::string GapKey(std::string_view key) {
    return Wrapped("il:gap:", key);
}

std::string WantKey(std::string_view key) {
    return Wrapped("il:want:", key);
}

std::string RecallChannel(std::string_view instance) {
    return std::string("il:recall:").append(instance);
}

std::string_view TokenInstance(std::string_view token) {
    constexpr std::string_view kPrefix = "pg:";
    if (token.substr(0, kPrefix.size()) != kPrefix) {
        return {};
    }
    token.remove_prefix(kPrefix.size());
    const size_t end = token.find(':');
    return end == std::string_view::npos ? std::string_view() : token.substr(0, end);
}

std::string_view HolderBeside(std::string_view value, std::string_view prefix) {
    const bool shared = value.substr(0, kIntentsPrefix.size()) == kIntentsPrefix;
    std::string_view rest = shared ? value.substr(kIntentsPrefix.size()) : value;
    while (!rest.empty()) {
        const size_t comma = shared ? rest.find(',') : std::string_view::npos;
        std::string_view token = rest.substr(0, comma);
        if (token.substr(0, prefix.size()) != prefix) {
            return shared ? token.substr(0, token.find('=')) : token;
        }
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    return {};
}

std::vector<std::string_view> Command::Argv() const {
    std::vector<std::string_view> argv;
    argv.reserve(3 + keys.size() + args.size());
    argv.emplace_back(by_text ? "EVAL" : "EVALSHA");
    argv.emplace_back(by_text ? ScriptText(script) : ScriptSha(script));
    argv.emplace_back(key_count);
    argv.insert(argv.end(), keys.begin(), keys.end());
    argv.insert(argv.end(), args.begin(), args.end());
    return argv;
}

Command Command::WithText() const {
    Command copy = *this;
    copy.by_text = true;
    return copy;
}

Command MakeAcquire(const std::vector<AcquireKey> &keys, const AcquireOptions &options) {
    Command command = NewCommand(Script::kAcquire, keys.size());
    command.args.push_back(std::to_string(options.fence_ttl_ms));
    command.args.push_back(std::to_string(options.not_after_us));
    command.args.push_back(std::to_string(options.announce ? options.want_ms : 0));
    for (const AcquireKey &key : keys) {
        command.keys.push_back(key.key);
        command.keys.push_back(key.intent ? WantKey(key.key) : FenceKey(key.key));
        command.keys.push_back(GapKey(key.key));
        command.args.push_back(key.token);
        command.args.push_back(key.prev);
        command.args.push_back(std::to_string(key.ttl_ms));
        command.args.push_back(key.intent ? "intent" : std::to_string(key.floor));
    }
    Finish(command);
    return command;
}

AcquireAnswer ParseAcquire(ReplyView reply, size_t key_count) {
    AcquireAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::string_view word = reply[0].Text();
    const std::optional<uint64_t> time = Positive(reply[1], kFenceLimit);
    bool sound = false;
    if (time) {
        answer.time_us = *time;
        if (word == "granted") {
            sound = ReadGranted(reply, key_count, answer);
        } else if (word == "taken") {
            sound = ReadTaken(reply, key_count, answer);
        } else if (word == "late" && reply.size() == 2) {
            answer.result = AcquireResult::kLate;
            sound = true;
        }
    }
    if (!sound) {
        answer = AcquireAnswer();
        answer.trouble = Nonsense("acquire");
    }
    return answer;
}

Command MakeExtend(const std::vector<ExtendKey> &keys) {
    Command command = NewCommand(Script::kExtend, keys.size());
    for (const ExtendKey &key : keys) {
        command.keys.push_back(key.key);
        command.args.push_back(key.token);
        command.args.push_back(std::to_string(key.ttl_ms));
    }
    Finish(command);
    return command;
}

ExtendAnswer ParseExtend(ReplyView reply, size_t key_count) {
    ExtendAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::optional<uint64_t> time = Positive(reply[0], kFenceLimit);
    bool sound = time.has_value() && reply.size() == key_count + 1;
    for (size_t i = 0; sound && i < key_count; i++) {
        const std::optional<Ownership> ownership = OwnershipOf(reply[i + 1]);
        sound = ownership.has_value();
        answer.keys.push_back(ownership.value_or(Ownership::kOther));
    }
    if (!sound) {
        answer = ExtendAnswer();
        answer.trouble = Nonsense("extend");
        return answer;
    }
    answer.ok = true;
    answer.time_us = *time;
    return answer;
}

Command MakeRelease(const ReleaseKey &key, int64_t fence_ttl_ms) {
    Command command = NewCommand(Script::kRelease, 1);
    command.keys.push_back(key.key);
    command.args.push_back(key.token);
    if (key.fence > 0 || key.gap_ms > 0) {
        command.keys.push_back(FenceKey(key.key));
        command.keys.push_back(GapKey(key.key));
        command.args.push_back(std::to_string(key.fence));
        command.args.push_back(std::to_string(key.gap_ms));
        command.args.push_back(std::to_string(fence_ttl_ms));
    }
    Finish(command);
    return command;
}

ReleaseAnswer ParseRelease(ReplyView reply) {
    ReleaseAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::optional<Ownership> found = OwnershipOf(reply);
    if (!found) {
        answer.trouble = Nonsense("release");
        return answer;
    }
    answer.ok = true;
    answer.found = *found;
    return answer;
}

Command MakeRaise(std::string_view key, std::string_view token, uint64_t given,
                  int64_t fence_ttl_ms) {
    Command command = NewCommand(Script::kRaise, 1);
    command.keys = {std::string(key), FenceKey(key)};
    command.args = {std::string(token), std::to_string(given), std::to_string(fence_ttl_ms)};
    Finish(command);
    return command;
}

RaiseAnswer ParseRaise(ReplyView reply) {
    RaiseAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::optional<Ownership> found = OwnershipOf(reply[0]);
    if (found == Ownership::kOurs && reply.size() == 2) {
        if (const std::optional<uint64_t> fence = Positive(reply[1], kFenceLimit)) {
            answer.ok = true;
            answer.ours = true;
            answer.fence = *fence;
            return answer;
        }
    } else if (found && found != Ownership::kOurs && reply.size() == 1) {
        answer.ok = true;
        return answer;
    }
    answer.trouble = Nonsense("raise");
    return answer;
}

Command MakeWaits(std::string_view wanted, const std::vector<std::string> &held,
                  const WaitEdge &edge, int64_t life_ms) {
    Command command = NewCommand(Script::kWaits, 1);
    command.keys = {std::string(wanted)};
    command.args = {std::to_string(life_ms),
                    std::string(edge.for_lease ? "L " : "G ") + std::to_string(edge.id) + " " +
                        std::to_string(edge.fence) + " " + std::string(wanted),
                    edge.for_lease ? std::to_string(kMaxWaitDepth) : "0"};
    command.args.insert(command.args.end(), held.begin(), held.end());
    Finish(command);
    return command;
}

WaitsAnswer ParseWaits(ReplyView reply) {
    WaitsAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::string_view verdict = reply[0].Text();
    if ((verdict != "open" && verdict != "cycle") || reply.size() > kMaxWaitDepth + 1) {
        answer.trouble = Nonsense("waits");
        return answer;
    }
    answer.ok = true;
    answer.cycle = verdict == "cycle";
    for (size_t i = 1; answer.cycle && i < reply.size(); i++) {
        const std::optional<WaitEdge> edge = EdgeOf(reply[i].Text());
        if (!edge) {  // another cluster's words, not the server's: no cycle that can be judged
            answer.cycle = false;
            answer.path.clear();
            break;
        }
        answer.path.push_back(*edge);
    }
    return answer;
}

namespace {

// A name that hashes to the same Cluster slot as the key. The tag of a key is what stands between
// its first '{' and the next '}', if that is not empty.
std::string Wrapped(std::string_view prefix, std::string_view key) {
    std::string name(prefix);
    const size_t open = key.find('{');
    const size_t close = open == std::string_view::npos ? open : key.find('}', open + 1);
    if (close == std::string_view::npos || close == open + 1) {
        return name.append("{").append(key).append("}");
    }
    return name.append(key.substr(open, close - open + 1)).append(":").append(key);
}

Command NewCommand(Script script, size_t key_count) {
    Command command;
    command.script = script;
    command.keys.reserve(3 * key_count);
    command.args.reserve(4 * key_count + 3);
    return command;
}

void Finish(Command &command) {
    command.key_count = std::to_string(command.keys.size());
}

// True, and says what, when the reply is an error.
bool Complain(ReplyView reply, Trouble &trouble, bool &no_script) {
    if (!reply.IsError()) {
        return false;
    }
    trouble = TroubleOfReply(reply.Text());
    no_script = reply.Text().substr(0, kNoScript.size()) == kNoScript;
    return true;
}

Trouble Nonsense(std::string_view what) {
    return Trouble{TroubleKind::kProtocol,
                   std::string("the reply to ").append(what).append(" has an unknown form")};
}

// A whole number from 1 to limit - 1.
std::optional<uint64_t> Positive(ReplyView reply, uint64_t limit) {
    const std::optional<int64_t> number = reply.Integer();
    if (!number || *number < 1 || static_cast<uint64_t>(*number) >= limit) {
        return std::nullopt;
    }
    return static_cast<uint64_t>(*number);
}

std::optional<Ownership> OwnershipOf(ReplyView reply) {
    const std::optional<int64_t> number = reply.Integer();
    if (number == 1) {
        return Ownership::kOurs;
    }
    if (number == 0) {
        return Ownership::kAbsent;
    }
    if (number == -1) {
        return Ownership::kOther;
    }
    return std::nullopt;
}

// granted, TIME, one fence per key.
bool ReadGranted(ReplyView reply, size_t key_count, AcquireAnswer &answer) {
    if (reply.size() != key_count + 2) {
        return false;
    }
    for (size_t i = 0; i < key_count; i++) {
        const std::optional<uint64_t> fence = Positive(reply[i + 2], kFenceLimit);
        if (!fence) {
            return false;
        }
        answer.fences.push_back(*fence);
    }
    answer.result = AcquireResult::kGranted;
    return true;
}

// taken, TIME, index from 1, kind, holder, PTTL.
bool ReadTaken(ReplyView reply, size_t key_count, AcquireAnswer &answer) {
    const std::optional<uint64_t> index = Positive(reply[2], uint64_t{key_count} + 1);
    const std::string_view kind = reply[3].Text();
    const std::string_view holder = reply[4].Text();
    const std::optional<int64_t> pttl = reply[5].Integer();
    if (reply.size() != 6 || !index || !pttl || holder.size() > kMaxBlockerBytes) {
        return false;
    }
    if (kind == "token") {
        answer.blocker_kind =
            TokenInstance(holder).empty() ? BlockerKind::kForeign : BlockerKind::kCluster;
    } else if (kind == "type") {
        answer.blocker_kind = BlockerKind::kOtherType;
    } else if (kind == "gap") {
        answer.blocker_kind = BlockerKind::kGap;
    } else {
        return false;
    }
    answer.result = AcquireResult::kTaken;
    answer.blocked_index = static_cast<size_t>(*index - 1);
    answer.blocker = std::string(holder);
    answer.blocker_pttl_ms = std::max(*pttl, kNoExpiry);
    return true;
}

// "L 17 1700000000000000" as the script returns it.
std::optional<WaitEdge> EdgeOf(std::string_view text) {
    if (text.size() < 5 || (text[0] != 'L' && text[0] != 'G') || text[1] != ' ') {
        return std::nullopt;
    }
    WaitEdge edge;
    edge.for_lease = text[0] == 'L';
    const char *const end = text.data() + text.size();
    const auto id = std::from_chars(text.data() + 2, end, edge.id);
    if (id.ec != std::errc() || id.ptr == end || *id.ptr != ' ') {
        return std::nullopt;
    }
    const auto fence = std::from_chars(id.ptr + 1, end, edge.fence);
    if (fence.ec != std::errc() || fence.ptr != end) {
        return std::nullopt;
    }
    return edge;
}

}  // namespace

}  // namespace inventory_lock::redis
