// The lock protocol on the wire: five Lua scripts, how they are called and what they answer.
//
// Runs in: the worker; pure C++. Everything that other clients of the same keys can observe is
// decided here; ../../docs/interoperability.md is its contract. In every script all checks come
// before the first write (a script that fails half-way leaves keys behind), every GET survives a
// value of another type, and numbers become strings by string.format('%.0f') only.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "redis/reply.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::redis {

// The scripts, in the order of their numbers, for SCRIPT LOAD.
enum class Script : uint8_t { kAcquire = 0, kExtend, kRelease, kRaise, kWaits };
inline constexpr int kScripts = 5;
std::string_view ScriptText(Script script) noexcept;
std::string_view ScriptSha(Script script) noexcept;  // 40 hex digits, SHA-1 of the text

// Fences are whole numbers below this: Lua's numbers are doubles.
inline constexpr uint64_t kFenceLimit = uint64_t{1} << 53;
// How much of a blocker's token is told.
inline constexpr size_t kMaxBlockerBytes = 256;

// A name that hashes to the same Cluster slot as the key: <prefix>{<key>}, or <prefix>{t}:<key>
// when the key has its own hash tag t. With a brace but no tag the whole key still goes between
// braces (a single server does not mind). In pieces that point at the key.
struct Wrapped {
    Wrapped(std::string_view prefix, std::string_view key);
    std::array<std::string_view, 4> pieces;
};
std::string FenceKey(std::string_view key);            // il:fence:{…}
std::string GapKey(std::string_view key);              // il:gap:{…}
std::string WantKey(std::string_view key);             // il:want:{…}
std::string RecallChannel(std::string_view instance);  // il:recall:<instance>

// Instance part of one of our tokens ("pg:<instance>:<boot>:<random>"); "" for foreign tokens.
std::string_view TokenInstance(std::string_view token);

// A command ready for Node::Send(): owns its bytes. EVALSHA with the script's hash; after NOSCRIPT
// WithText() gives the same call as EVAL.
class Command {
  public:
    Command() = default;
    // Room for so many words, and so many bytes of them, is made at once.
    Command(Script which, size_t keys, size_t arguments, size_t bytes);

    // The next key; when all are there, the next argument.
    void Add(std::string_view word);
    void Add(const Wrapped &name);
    template <typename Number>
    void AddNumber(Number number);

    std::vector<std::string_view> Argv() const;  // points into this command
    Command WithText() const;

    Script script = Script::kAcquire;
    bool by_text = false;

  private:
    std::string bytes_;         // number of keys, keys, arguments: end to end
    std::vector<size_t> ends_;  // of each in bytes_
};

// What a key's texts point at must live until the command is made.
struct AcquireKey {
    std::string_view key;
    std::string_view token;  // ours, fresh
    std::string_view prev;   // our earlier token whose release is not acknowledged; "" = none
    int64_t ttl_ms = 0;
    uint64_t floor = 0;  // highest fence known for the key
    // Shared with other clusters that take it so, and refused to everybody who wants it alone. It
    // has no fence: the answer is the time.
    bool intent = false;
};
// What a key that is shared has for a value begins so.
inline constexpr std::string_view kIntentsPrefix = "pg:intents:";
// Who has a lock key with this value, leaving aside tokens that begin with `prefix`: the token, of
// a shared key the first one; "" = nobody.
std::string_view HolderBeside(std::string_view value, std::string_view prefix);
struct AcquireOptions {
    int64_t fence_ttl_ms = 86400000;
    uint64_t not_after_us = 0;  // Redis TIME beyond which nothing is taken; 0 = no limit
    bool announce = true;       // publish on the blockers' recall channels
    // Who wants a shared key alone keeps newcomers out of it for so long; ask again before.
    int64_t want_ms = 300;
};
Command MakeAcquire(const std::vector<AcquireKey> &keys, const AcquireOptions &options);

enum class AcquireResult : uint8_t { kGranted, kTaken, kLate, kTrouble };
enum class BlockerKind : uint8_t { kForeign, kCluster, kGap, kOtherType };
struct AcquireAnswer {
    AcquireResult result = AcquireResult::kTrouble;
    uint64_t time_us = 0;          // Redis TIME
    std::vector<uint64_t> fences;  // granted: one per key
    size_t blocked_index = 0;      // taken: which key
    std::string blocker;           // taken: the holder's token (bounded; raw bytes)
    BlockerKind blocker_kind = BlockerKind::kForeign;
    int64_t blocker_pttl_ms = -1;  // taken: remaining life; -1 = has no expiry
    Trouble trouble;               // kTrouble: error reply or nonsense
    bool no_script = false;        // kTrouble: NOSCRIPT, send WithText()
};
// `token`: of the first key, as it was sent. An answer without it is one to another request.
AcquireAnswer ParseAcquire(ReplyView reply, size_t key_count, std::string_view token);

// Extend of many keys in one call.
struct ExtendKey {
    std::string key;
    std::string token;
    int64_t ttl_ms = 0;  // kOnlyLook: changes nothing, which wakes nobody who watches the key
};
inline constexpr int64_t kOnlyLook = -1;
Command MakeExtend(const std::vector<ExtendKey> &keys);
enum class Ownership : uint8_t { kOurs, kAbsent, kOther };
struct ExtendAnswer {
    bool ok = false;
    uint64_t time_us = 0;
    std::vector<Ownership> keys;
    Trouble trouble;
    bool no_script = false;
};
ExtendAnswer ParseExtend(ReplyView reply, size_t key_count, std::string_view token);

// Compare-and-delete of one key. A fence above the stored one is stored on the way (only while the
// key is ours), 0 = none is to be; gap_ms > 0 also leaves il:gap for foreign pollers.
struct ReleaseKey {
    std::string_view key;
    std::string_view token;
    uint64_t fence = 0;
    int64_t gap_ms = 0;
};
Command MakeRelease(const ReleaseKey &key, int64_t fence_ttl_ms);
// The same for many keys in one call, none of them shared, nor with a fence or a gap to be left.
Command MakeReleases(const std::vector<ReleaseKey> &keys);
struct ReleaseAnswer {
    bool ok = false;
    std::vector<Ownership> keys;  // what was found
    Trouble trouble;
    bool no_script = false;
};
ReleaseAnswer ParseRelease(ReplyView reply, size_t key_count);

// Token still ours: fence := max(stored, given) + 1.
Command MakeRaise(std::string_view key, std::string_view token, uint64_t given,
                  int64_t fence_ttl_ms);
struct RaiseAnswer {
    bool ok = false;
    bool ours = false;
    uint64_t fence = 0;
    Trouble trouble;
    bool no_script = false;
};
RaiseAnswer ParseRaise(ReplyView reply);

// An edge of the wait-for graph between clusters: who holds `held` waits for `wanted`. Published
// under il:wait:<token> for each held token. A waiter for a lease also searches: from the wanted
// key to its token, to that token's edge, and on, until it meets one of its own tokens (a deadlock)
// or the path ends (a foreign holder, somebody who does not wait, or kMaxWaitDepth).
inline constexpr size_t kMaxWaitDepth = 16;
struct WaitEdge {
    bool for_lease = false;  // false: at a local gate; such a waiter is never the victim
    uint64_t id = 0;         // of the wait, unique
    uint64_t fence = 0;      // the highest that the waiter holds
};
Command MakeWaits(std::string_view wanted, const std::vector<std::string> &held,
                  const WaitEdge &edge, int64_t life_ms);
struct WaitsAnswer {
    bool ok = false;
    bool cycle = false;
    std::vector<WaitEdge> path;  // the others in the cycle
    Trouble trouble;
    bool no_script = false;
};
WaitsAnswer ParseWaits(ReplyView reply);

}  // namespace inventory_lock::redis
