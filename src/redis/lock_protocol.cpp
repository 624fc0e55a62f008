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
constexpr std::string_view kFencePrefix = "il:fence:";
constexpr std::string_view kGapPrefix = "il:gap:";
constexpr std::string_view kWantPrefix = "il:want:";
constexpr size_t kNumberBytes = 20;  // the longest number

std::string Text(const Wrapped &name);
bool Complain(ReplyView reply, Trouble &trouble, bool &no_script);
Trouble Nonsense(std::string_view what);
std::optional<uint64_t> Positive(ReplyView reply, uint64_t limit);
std::optional<Ownership> OwnershipOf(ReplyView reply);
bool ReadOwnerships(ReplyView reply, size_t first, size_t key_count, size_t behind,
                    std::vector<Ownership> &keys);
bool ReadGranted(ReplyView reply, size_t key_count, AcquireAnswer &answer);
bool ReadTaken(ReplyView reply, size_t key_count, AcquireAnswer &answer);
std::optional<WaitEdge> EdgeOf(std::string_view text);

}  // namespace

// The tag of a key is what stands between its first '{' and the next '}', if that is not empty.
Wrapped::Wrapped(std::string_view prefix, std::string_view key) : pieces{prefix, "{", key, "}"} {
    const size_t open = key.find('{');
    const size_t close = open == std::string_view::npos ? open : key.find('}', open + 1);
    if (close != std::string_view::npos && close != open + 1) {
        pieces = {prefix, key.substr(open, close - open + 1), ":", key};
    }
}

std::string FenceKey(std::string_view key) {
    return Text({kFencePrefix, key});
}

std::string GapKey(std::string_view key) {
    return Text({kGapPrefix, key});
}

std::string WantKey(std::string_view key) {
    return Text({kWantPrefix, key});
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

Command::Command(Script which, size_t keys, size_t arguments, size_t bytes) : script(which) {
    ends_.reserve(1 + keys + arguments);
    bytes_.reserve(kNumberBytes + bytes);
    AddNumber(keys);
}

void Command::Add(std::string_view word) {
    bytes_.append(word);
    ends_.push_back(bytes_.size());
}

void Command::Add(const Wrapped &name) {
    for (const std::string_view piece : name.pieces) {
        bytes_.append(piece);
    }
    ends_.push_back(bytes_.size());
}

template <typename Number>
void Command::AddNumber(Number number) {
    char digits[kNumberBytes];
    const auto end = std::to_chars(digits, digits + sizeof(digits), number).ptr;
    Add({digits, static_cast<size_t>(end - digits)});
}

std::vector<std::string_view> Command::Argv() const {
    std::vector<std::string_view> argv;
    argv.reserve(2 + ends_.size());
    argv.emplace_back(by_text ? "EVAL" : "EVALSHA");
    argv.emplace_back(by_text ? ScriptText(script) : ScriptSha(script));
    const std::string_view bytes = bytes_;
    size_t begin = 0;
    for (const size_t end : ends_) {
        argv.push_back(bytes.substr(begin, end - begin));
        begin = end;
    }
    return argv;
}

Command Command::WithText() const {
    Command copy = *this;
    copy.by_text = true;
    return copy;
}

Command MakeAcquire(const std::vector<AcquireKey> &keys, const AcquireOptions &options) {
    size_t bytes = 3 * kNumberBytes;
    for (const AcquireKey &key : keys) {
        bytes += 3 * key.key.size() + kFencePrefix.size() + kGapPrefix.size() + 4 +
                 key.token.size() + key.prev.size() + 2 * kNumberBytes;
    }
    Command command(Script::kAcquire, 3 * keys.size(), 4 * keys.size() + 3, bytes);
    for (const AcquireKey &key : keys) {
        command.Add(key.key);
        command.Add(Wrapped(key.intent ? kWantPrefix : kFencePrefix, key.key));
        command.Add(Wrapped(kGapPrefix, key.key));
    }
    command.AddNumber(options.fence_ttl_ms);
    command.AddNumber(options.not_after_us);
    command.AddNumber(options.announce ? options.want_ms : 0);
    for (const AcquireKey &key : keys) {
        command.Add(key.token);
        command.Add(key.prev);
        command.AddNumber(key.ttl_ms);
        if (key.intent) {
            command.Add("intent");
        } else {
            command.AddNumber(key.floor);
        }
    }
    return command;
}

AcquireAnswer ParseAcquire(ReplyView reply, size_t key_count, std::string_view token) {
    AcquireAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::string_view word = reply[0].Text();
    const std::optional<uint64_t> time = Positive(reply[1], kFenceLimit);
    bool sound = false;
    if (time && reply[reply.size() - 1].Text() == token) {
        answer.time_us = *time;
        if (word == "granted") {
            sound = ReadGranted(reply, key_count, answer);
        } else if (word == "taken") {
            sound = ReadTaken(reply, key_count, answer);
        } else if (word == "late" && reply.size() == 3) {
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
    size_t bytes = 0;
    for (const ExtendKey &key : keys) {
        bytes += key.key.size() + key.token.size() + kNumberBytes;
    }
    Command command(Script::kExtend, keys.size(), 2 * keys.size(), bytes);
    for (const ExtendKey &key : keys) {
        command.Add(key.key);
    }
    for (const ExtendKey &key : keys) {
        command.Add(key.token);
        command.AddNumber(key.ttl_ms);
    }
    return command;
}

ExtendAnswer ParseExtend(ReplyView reply, size_t key_count, std::string_view token) {
    ExtendAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::optional<uint64_t> time = Positive(reply[0], kFenceLimit);
    if (!time.has_value() || !ReadOwnerships(reply, 1, key_count, 1, answer.keys) ||
        reply[key_count + 1].Text() != token) {
        answer = ExtendAnswer();
        answer.trouble = Nonsense("extend");
        return answer;
    }
    answer.ok = true;
    answer.time_us = *time;
    return answer;
}

Command MakeRelease(const ReleaseKey &key, int64_t fence_ttl_ms) {
    const bool leaves = key.fence > 0 || key.gap_ms > 0;
    Command command(Script::kRelease, leaves ? 3 : 1, leaves ? 4 : 1,
                    key.key.size() + key.token.size());
    command.Add(key.key);
    if (leaves) {
        command.Add(Wrapped(kFencePrefix, key.key));
        command.Add(Wrapped(kGapPrefix, key.key));
    }
    command.Add(key.token);
    if (leaves) {
        command.AddNumber(key.fence);
        command.AddNumber(key.gap_ms);
        command.AddNumber(fence_ttl_ms);
    }
    return command;
}

Command MakeReleases(const std::vector<ReleaseKey> &keys) {
    size_t bytes = 0;
    for (const ReleaseKey &key : keys) {
        bytes += key.key.size() + key.token.size();
    }
    Command command(Script::kRelease, keys.size(), keys.size(), bytes);
    for (const ReleaseKey &key : keys) {
        command.Add(key.key);
    }
    for (const ReleaseKey &key : keys) {
        command.Add(key.token);
    }
    return command;
}

ReleaseAnswer ParseRelease(ReplyView reply, size_t key_count) {
    ReleaseAnswer answer;
    if (Complain(reply, answer.trouble, answer.no_script)) {
        return answer;
    }
    const std::optional<Ownership> only = key_count == 1 ? OwnershipOf(reply) : std::nullopt;
    if (only) {
        answer.keys.push_back(*only);
    } else if (key_count == 1 || !ReadOwnerships(reply, 0, key_count, 0, answer.keys)) {
        answer.keys.clear();
        answer.trouble = Nonsense("release");
        return answer;
    }
    answer.ok = true;
    return answer;
}

Command MakeRaise(std::string_view key, std::string_view token, uint64_t given,
                  int64_t fence_ttl_ms) {
    Command command(Script::kRaise, 2, 3, 0);
    command.Add(key);
    command.Add(Wrapped(kFencePrefix, key));
    command.Add(token);
    command.AddNumber(given);
    command.AddNumber(fence_ttl_ms);
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
    Command command(Script::kWaits, 1, 3 + held.size(), 0);
    command.Add(wanted);
    command.AddNumber(life_ms);
    command.Add(std::string(edge.for_lease ? "L " : "G ") + std::to_string(edge.id) + " " +
                std::to_string(edge.fence) + " " + std::string(wanted));
    command.AddNumber(edge.for_lease ? kMaxWaitDepth : 0);
    for (const std::string &token : held) {
        command.Add(token);
    }
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

std::string Text(const Wrapped &name) {
    std::string text;
    for (const std::string_view piece : name.pieces) {
        text.append(piece);
    }
    return text;
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

// `first` elements of something else, one of each key, and `behind` others.
bool ReadOwnerships(ReplyView reply, size_t first, size_t key_count, size_t behind,
                    std::vector<Ownership> &keys) {
    if (reply.size() != first + key_count + behind) {
        return false;
    }
    for (size_t i = 0; i < key_count; i++) {
        const std::optional<Ownership> ownership = OwnershipOf(reply[first + i]);
        if (!ownership) {
            return false;
        }
        keys.push_back(*ownership);
    }
    return true;
}

// granted, TIME, one fence per key, token.
bool ReadGranted(ReplyView reply, size_t key_count, AcquireAnswer &answer) {
    if (reply.size() != key_count + 3) {
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

// taken, TIME, index from 1, kind, holder, PTTL, token.
bool ReadTaken(ReplyView reply, size_t key_count, AcquireAnswer &answer) {
    const std::optional<uint64_t> index = Positive(reply[2], uint64_t{key_count} + 1);
    const std::string_view kind = reply[3].Text();
    const std::string_view holder = reply[4].Text();
    const std::optional<int64_t> pttl = reply[5].Integer();
    if (reply.size() != 7 || !index || !pttl || holder.size() > kMaxBlockerBytes) {
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
