// Fuzzes the way of a peer's bytes: reader → accessors → answers of the scripts, INFO fields,
// classification. The first byte says in how large pieces the rest arrives. Checked: no crash, no
// sanitizer report, and that an answer which is believed keeps what lock_protocol.hpp promises.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "redis/info.hpp"
#include "redis/lock_protocol.hpp"
#include "redis/reply_reader.hpp"

namespace {

using namespace std::string_view_literals;
namespace redis = inventory_lock::redis;

constexpr size_t kMaxReplyBytes = 8192;
constexpr size_t kMaxKeys = 4;

void Require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// Reads everything that is there, and a little that is not.
size_t Walk(redis::ReplyView view, int depth) {
    size_t seen = view.Text().size() + static_cast<size_t>(view.Integer().value_or(0) & 1);
    Require(depth < 16);
    Require(view.IsArray() || view.size() == 0);
    Require(view[view.size()].IsNil());
    for (size_t i = 0; i < view.size(); i++) {
        seen += Walk(view[i], depth + 1);
    }
    return seen;
}

// As if it were the answer to what was asked.
std::string_view TokenOf(redis::ReplyView view) {
    return view[view.size() - 1].Text();
}

void CheckAcquire(redis::ReplyView view, size_t keys) {
    const redis::AcquireAnswer answer = redis::ParseAcquire(view, keys, TokenOf(view));
    switch (answer.result) {
        case redis::AcquireResult::kGranted:
            Require(answer.fences.size() == keys);
            for (const uint64_t fence : answer.fences) {
                Require(fence > 0 && fence < redis::kFenceLimit);
            }
            break;
        case redis::AcquireResult::kTaken:
            Require(answer.blocked_index < keys && answer.blocker_pttl_ms >= -1);
            Require(answer.blocker.size() <= redis::kMaxBlockerBytes);
            Require(answer.fences.empty());
            break;
        case redis::AcquireResult::kLate:
            break;
        case redis::AcquireResult::kTrouble:
            Require(answer.trouble.kind != redis::TroubleKind::kNone);
            Require(answer.trouble.text.size() <= redis::kMaxTroubleBytes);
            Require(!answer.no_script || view.IsError());
            return;
    }
    Require(answer.time_us > 0 && answer.time_us < redis::kFenceLimit);
}

void CheckAnswers(redis::ReplyView view) {
    for (size_t keys = 0; keys <= kMaxKeys; keys++) {
        CheckAcquire(view, keys);
        const redis::ExtendAnswer extend = redis::ParseExtend(view, keys, TokenOf(view));
        Require(extend.ok == (extend.trouble.kind == redis::TroubleKind::kNone));
        Require(extend.keys.size() == (extend.ok ? keys : 0));
        const redis::ReleaseAnswer release = redis::ParseRelease(view, keys);
        Require(release.ok == (release.trouble.kind == redis::TroubleKind::kNone));
        Require(release.keys.size() == (release.ok ? keys : 0));
    }
    const redis::RaiseAnswer raise = redis::ParseRaise(view);
    Require(raise.ok == (raise.trouble.kind == redis::TroubleKind::kNone));
    Require(!raise.ours || (raise.ok && raise.fence > 0 && raise.fence < redis::kFenceLimit));
    const redis::WaitsAnswer waits = redis::ParseWaits(view);
    Require(waits.ok == (waits.trouble.kind == redis::TroubleKind::kNone));
    Require(waits.path.size() <= redis::kMaxWaitDepth && (waits.cycle || waits.path.empty()));
    Require(redis::InfoField(view.Text(), "run_id"sv).size() <= 128);
    Require(redis::TokenInstance(view.Text()).size() <= view.Text().size());
    Require(redis::FenceKey(view.Text()).size() > view.Text().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const size_t piece = size_t{data[0]} + 1;
    std::string_view bytes(reinterpret_cast<const char *>(data) + 1, size - 1);
    redis::ReplyReader reader(kMaxReplyBytes);
    while (!bytes.empty()) {
        const size_t length = std::min(piece, bytes.size());
        reader.Feed(bytes.substr(0, length));
        bytes.remove_prefix(length);
        redis::Trouble trouble;
        while (const redis::ReplyOwner reply = reader.Take(trouble)) {
            const redis::ReplyView view(reply.get());
            Walk(view, 0);
            CheckAnswers(view);
        }
        if (trouble.kind != redis::TroubleKind::kNone) {
            Require(trouble.kind == redis::TroubleKind::kProtocol && !trouble.text.empty());
            return 0;
        }
    }
    return 0;
}
