// Key names, command words, and the reading of answers: what is believed and what is not.

#include "redis/lock_protocol.hpp"

#include <gtest/gtest.h>

#include <string>

#include "redis/reply_reader.hpp"

namespace inventory_lock::redis::test {
namespace {

ReplyOwner Read(std::string_view bytes) {
    ReplyReader reader(1 << 20);
    Trouble trouble;
    reader.Feed(bytes);
    return reader.Take(trouble);
}

AcquireAnswer Acquire(std::string_view bytes, size_t keys) {
    const ReplyOwner owner = Read(bytes);
    EXPECT_NE(owner, nullptr) << bytes;
    return ParseAcquire(ReplyView(owner.get()), keys, "t");
}

TEST(KeyNames, StandInTheSlotOfTheirKey) {
    const struct {
        const char *key;
        const char *fence;
    } cases[] = {
        {"inventory_lock:42", "il:fence:{inventory_lock:42}"},
        {"lock:{user}:1", "il:fence:{user}:lock:{user}:1"},
        {"{t}", "il:fence:{t}:{t}"},
        {"a{b}c{d}", "il:fence:{b}:a{b}c{d}"},
        {"a{{b}}", "il:fence:{{b}:a{{b}}"},
        // No tag in Redis' sense: the first '{' is not closed, or encloses nothing.
        {"a{b", "il:fence:{a{b}"},
        {"a}b", "il:fence:{a}b}"},
        {"a{}b{c}", "il:fence:{a{}b{c}}"},
        {"}{", "il:fence:{}{}"},
        {"", "il:fence:{}"},
    };
    for (const auto &one : cases) {
        EXPECT_EQ(FenceKey(one.key), one.fence);
        EXPECT_EQ(GapKey(one.key), "il:gap:" + std::string(one.fence).substr(9));
    }
    EXPECT_EQ(RecallChannel("abc"), "il:recall:abc");
}

TEST(Token, TellsTheInstanceOfOursOnly) {
    EXPECT_EQ(TokenInstance("pg:abc:1:xyz"), "abc");
    EXPECT_EQ(TokenInstance("pg:abc:"), "abc");
    for (const char *token : {"", "pg", "pg:", "pg:abc", "pg::1:x", "PG:abc:1:x", "xpg:abc:1:x",
                              "f47ac10b-58cc-4372-a567-0e02b2c3d479"}) {
        EXPECT_EQ(TokenInstance(token), "") << token;
    }
}

TEST(Command, HasItsWordsInOrder) {
    AcquireOptions options;
    options.fence_ttl_ms = 1000;
    options.not_after_us = 77;
    const Command command =
        MakeAcquire({{"a", "t1", "p1", 10, 5}, {"b", "t2", "", 20, 0}}, options);
    const std::vector<std::string_view> expected = {"EVALSHA",
                                                    ScriptSha(Script::kAcquire),
                                                    "6",
                                                    "a",
                                                    "il:fence:{a}",
                                                    "il:gap:{a}",
                                                    "b",
                                                    "il:fence:{b}",
                                                    "il:gap:{b}",
                                                    "1000",
                                                    "77",
                                                    "300",
                                                    "t1",
                                                    "p1",
                                                    "10",
                                                    "5",
                                                    "t2",
                                                    "",
                                                    "20",
                                                    "0"};
    EXPECT_EQ(command.Argv(), expected);
    const Command text = command.WithText();
    const std::vector<std::string_view> argv = text.Argv();
    EXPECT_EQ(argv[0], "EVAL");
    EXPECT_EQ(argv[1], ScriptText(Script::kAcquire));
    EXPECT_EQ(std::vector<std::string_view>(argv.begin() + 2, argv.end()),
              std::vector<std::string_view>(expected.begin() + 2, expected.end()));
}

TEST(Command, ASharedKeyComesWithWhoWantsItAlone) {
    AcquireKey key{"k", "t", "p", 10, 5};
    key.intent = true;
    AcquireOptions options;
    options.announce = false;
    const Command command = MakeAcquire({key}, options);
    EXPECT_EQ(command.Argv(), (std::vector<std::string_view>{
                                  "EVALSHA", ScriptSha(Script::kAcquire), "3", "k", "il:want:{k}",
                                  "il:gap:{k}", "86400000", "0", "0", "t", "p", "10", "intent"}));
}

TEST(Command, OfTheOtherScripts) {
    EXPECT_EQ(MakeExtend({{"a", "t", 10}, {"b", "u", 20}}).Argv(),
              (std::vector<std::string_view>{"EVALSHA", ScriptSha(Script::kExtend), "2", "a", "b",
                                             "t", "10", "u", "20"}));
    EXPECT_EQ(MakeRelease({"a", "t", 3, 4}, 5).Argv(),
              (std::vector<std::string_view>{"EVALSHA", ScriptSha(Script::kRelease), "3", "a",
                                             "il:fence:{a}", "il:gap:{a}", "t", "3", "4", "5"}));
    EXPECT_EQ(MakeRelease({"a", "t", 0, 4}, 5).Argv().size(), 10u);
    EXPECT_EQ(
        MakeRelease({"a", "t", 0, 0}, 5).Argv(),
        (std::vector<std::string_view>{"EVALSHA", ScriptSha(Script::kRelease), "1", "a", "t"}));
    EXPECT_EQ(MakeReleases({{"a", "t"}, {"b", "u"}}).Argv(),
              (std::vector<std::string_view>{"EVALSHA", ScriptSha(Script::kRelease), "2", "a", "b",
                                             "t", "u"}));
    EXPECT_EQ(MakeRaise("a", "t", 3, 5).Argv(),
              (std::vector<std::string_view>{"EVALSHA", ScriptSha(Script::kRaise), "2", "a",
                                             "il:fence:{a}", "t", "3", "5"}));
}

TEST(AcquireAnswer, IsReadWhenItIsSound) {
    const AcquireAnswer granted =
        Acquire("*5\r\n$7\r\ngranted\r\n$2\r\n77\r\n$1\r\n5\r\n:6\r\n+t\r\n", 2);
    EXPECT_EQ(granted.result, AcquireResult::kGranted);
    EXPECT_EQ(granted.time_us, 77u);
    EXPECT_EQ(granted.fences, (std::vector<uint64_t>{5, 6}));
    EXPECT_EQ(Acquire("*5\r\n+granted\r\n+77\r\n+5\r\n+6\r\n+u\r\n", 2).trouble.kind,
              TroubleKind::kProtocol);

    const AcquireAnswer taken =
        Acquire("*7\r\n+taken\r\n+77\r\n:2\r\n+token\r\n$9\r\npg:ab:1:x\r\n:4000\r\n+t\r\n", 2);
    EXPECT_EQ(taken.result, AcquireResult::kTaken);
    EXPECT_EQ(taken.blocked_index, 1u);
    EXPECT_EQ(taken.blocker, "pg:ab:1:x");
    EXPECT_EQ(taken.blocker_kind, BlockerKind::kCluster);
    EXPECT_EQ(taken.blocker_pttl_ms, 4000);

    EXPECT_EQ(
        Acquire("*7\r\n+taken\r\n+77\r\n:1\r\n+token\r\n+uuid\r\n:-1\r\n+t\r\n", 1).blocker_kind,
        BlockerKind::kForeign);
    EXPECT_EQ(Acquire("*7\r\n+taken\r\n+77\r\n:1\r\n+type\r\n+\r\n:-1\r\n+t\r\n", 1).blocker_kind,
              BlockerKind::kOtherType);
    EXPECT_EQ(Acquire("*7\r\n+taken\r\n+77\r\n:1\r\n+gap\r\n+\r\n:9\r\n+t\r\n", 1).blocker_kind,
              BlockerKind::kGap);
    EXPECT_EQ(
        Acquire("*7\r\n+taken\r\n+77\r\n:1\r\n+type\r\n+\r\n:-2\r\n+t\r\n", 1).blocker_pttl_ms, -1);
    EXPECT_EQ(Acquire("*3\r\n+late\r\n+77\r\n+t\r\n", 1).result, AcquireResult::kLate);
}

// Replies that no script of ours gives.
constexpr const char *kNonsense[] = {
    "$-1\r\n",
    "+OK\r\n",
    ":1\r\n",
    ":2\r\n",
    "*0\r\n",
    "*-1\r\n",
    "$7\r\ngranted\r\n",
    "*2\r\n+granted\r\n+t\r\n",
    "*3\r\n+granted\r\n+77\r\n+t\r\n",
    "*5\r\n+granted\r\n+77\r\n+5\r\n+6\r\n+t\r\n",
    "*4\r\n+granted\r\n+0\r\n+5\r\n+t\r\n",
    "*4\r\n+granted\r\n:-7\r\n+5\r\n+t\r\n",
    "*4\r\n+granted\r\n+9007199254740992\r\n+5\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n+0\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n+9007199254740992\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n+5x\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n*1\r\n+5\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n$-1\r\n+t\r\n",
    "*4\r\n+granted\r\n+77\r\n-ERR\r\n+t\r\n",
    "*4\r\n+Granted\r\n+77\r\n+5\r\n+t\r\n",
    "*4\r\n*1\r\n+granted\r\n+77\r\n+5\r\n+t\r\n",
    "*7\r\n+taken\r\n+77\r\n:0\r\n+token\r\n+x\r\n:1\r\n+t\r\n",
    "*7\r\n+taken\r\n+77\r\n:2\r\n+token\r\n+x\r\n:1\r\n+t\r\n",
    "*7\r\n+taken\r\n+77\r\n:-1\r\n+token\r\n+x\r\n:1\r\n+t\r\n",
    "*7\r\n+taken\r\n+77\r\n:1\r\n+who\r\n+x\r\n:1\r\n+t\r\n",
    "*7\r\n+taken\r\n+77\r\n:1\r\n+token\r\n+x\r\n+x\r\n+t\r\n",
    "*7\r\n+taken\r\n+x\r\n:1\r\n+token\r\n+x\r\n:1\r\n+t\r\n",
    "*6\r\n+taken\r\n+77\r\n:1\r\n+token\r\n+x\r\n+t\r\n",
    "*8\r\n+taken\r\n+77\r\n:1\r\n+token\r\n+x\r\n:1\r\n:1\r\n+t\r\n",
    "*4\r\n+late\r\n+77\r\n+5\r\n+t\r\n",
    "*3\r\n+77\r\n:2\r\n+t\r\n",
    "*3\r\n+77\r\n$-1\r\n+t\r\n",
    "*4\r\n+77\r\n:1\r\n:1\r\n+t\r\n",
    "*2\r\n:0\r\n:1\r\n",
    // Those of another request.
    "*4\r\n+granted\r\n+77\r\n+5\r\n+u\r\n",
    "*3\r\n+granted\r\n+77\r\n+5\r\n",
    "*7\r\n+taken\r\n+77\r\n:1\r\n+token\r\n+x\r\n:1\r\n+u\r\n",
    "*3\r\n+late\r\n+77\r\n+u\r\n",
    "*3\r\n+77\r\n:1\r\n+u\r\n",
    "*2\r\n+77\r\n:1\r\n",
    "*2\r\n:1\r\n+0\r\n",
    "*2\r\n:1\r\n+9007199254740992\r\n",
    "*3\r\n:1\r\n+5\r\n+5\r\n",
    "*1\r\n:1\r\n",
    "*1\r\n:2\r\n",
    "*2\r\n:0\r\n+5\r\n",
};

class Nonsense : public ::testing::TestWithParam<const char *> {};

// Some of these are a sound answer to one of the other scripts; each is wrong for at least three.
TEST_P(Nonsense, IsNeverBelieved) {
    const ReplyOwner owner = Read(GetParam());
    ASSERT_NE(owner, nullptr);
    const ReplyView view(owner.get());
    const AcquireAnswer acquire = ParseAcquire(view, 1, "t");
    EXPECT_EQ(acquire.result, AcquireResult::kTrouble);
    EXPECT_EQ(acquire.trouble.kind, TroubleKind::kProtocol);
    EXPECT_FALSE(acquire.no_script);
    EXPECT_TRUE(acquire.fences.empty());
    int sound = 0;
    const ExtendAnswer extend = ParseExtend(view, 1, "t");
    const ReleaseAnswer release = ParseRelease(view, 1);
    const RaiseAnswer raise = ParseRaise(view);
    sound += extend.ok + release.ok + raise.ok;
    EXPECT_LE(sound, 1);
    EXPECT_EQ(extend.ok, extend.trouble.kind == TroubleKind::kNone);
    EXPECT_EQ(release.ok, release.trouble.kind == TroubleKind::kNone);
    EXPECT_EQ(raise.ok, raise.trouble.kind == TroubleKind::kNone);
    EXPECT_TRUE(extend.ok || extend.keys.empty());
}

INSTANTIATE_TEST_SUITE_P(Answer, Nonsense, ::testing::ValuesIn(kNonsense));

TEST(AcquireAnswer, ABlockerLongerThanPromisedIsNotBelieved) {
    const std::string holder(257, 'x');
    EXPECT_EQ(
        Acquire("*7\r\n+taken\r\n+77\r\n:1\r\n+token\r\n$257\r\n" + holder + "\r\n:1\r\n+t\r\n", 1)
            .result,
        AcquireResult::kTrouble);
}

TEST(ExtendAnswer, IsReadWhenItIsSound) {
    const ReplyOwner owner = Read("*5\r\n$2\r\n77\r\n:1\r\n:0\r\n:-1\r\n+t\r\n");
    const ExtendAnswer answer = ParseExtend(ReplyView(owner.get()), 3, "t");
    EXPECT_TRUE(answer.ok);
    EXPECT_EQ(answer.time_us, 77u);
    EXPECT_EQ(answer.keys,
              (std::vector<Ownership>{Ownership::kOurs, Ownership::kAbsent, Ownership::kOther}));
    EXPECT_FALSE(ParseExtend(ReplyView(owner.get()), 2, "t").ok);
    EXPECT_FALSE(ParseExtend(ReplyView(owner.get()), 4, "t").ok);
}

TEST(RaiseAnswer, IsReadWhenItIsSound) {
    const ReplyOwner ours = Read("*2\r\n:1\r\n$2\r\n77\r\n");
    EXPECT_TRUE(ParseRaise(ReplyView(ours.get())).ours);
    EXPECT_EQ(ParseRaise(ReplyView(ours.get())).fence, 77u);
    const ReplyOwner other = Read("*1\r\n:-1\r\n");
    EXPECT_TRUE(ParseRaise(ReplyView(other.get())).ok);
    EXPECT_FALSE(ParseRaise(ReplyView(other.get())).ours);
}

TEST(WaitsAnswer, IsReadWhenItIsSound) {
    const auto read = [](const std::string &bytes) {
        const ReplyOwner owner = Read(bytes);
        return ParseWaits(ReplyView(owner.get()));
    };
    EXPECT_TRUE(read("*1\r\n+open\r\n").ok);
    const WaitsAnswer cycle = read("*3\r\n+cycle\r\n+L 17 18\r\n+G 1 0\r\n");
    EXPECT_TRUE(cycle.ok);
    EXPECT_TRUE(cycle.cycle);
    ASSERT_EQ(cycle.path.size(), 2u);
    EXPECT_EQ(cycle.path[0].id, 17u);
    EXPECT_EQ(cycle.path[0].fence, 18u);
    EXPECT_FALSE(cycle.path[1].for_lease);
    for (const char *edge : {"", "L", "L 1", "L 1 ", "X 1 2", "L1 2 3", "L 1 2 ", "L 1 2x",
                             "L -1 2", "L 1  2", "L 99999999999999999999 1"}) {
        const WaitsAnswer answer = read("*2\r\n+cycle\r\n+" + std::string(edge) + "\r\n");
        EXPECT_TRUE(answer.ok) << edge;
        EXPECT_FALSE(answer.cycle) << edge;
        EXPECT_TRUE(answer.path.empty()) << edge;
    }
    std::string endless = "*18\r\n+cycle\r\n";
    for (int i = 0; i < 17; i++) {
        endless += "+L 1 2\r\n";
    }
    for (const std::string &bytes : {std::string("+open\r\n"), std::string("*0\r\n"),
                                     std::string("*1\r\n+shut\r\n"), endless}) {
        EXPECT_EQ(read(bytes).trouble.kind, TroubleKind::kProtocol) << bytes;
        EXPECT_FALSE(read(bytes).ok);
    }
}

TEST(Answers, OfReleasesHaveOneForEachKey) {
    const auto parse = [](const std::string &reply, size_t keys) {
        const ReplyOwner owner = Read(reply);
        return ParseRelease(ReplyView(owner.get()), keys);
    };
    EXPECT_EQ(parse("*3\r\n:1\r\n:0\r\n:-1\r\n", 3).keys,
              (std::vector<Ownership>{Ownership::kOurs, Ownership::kAbsent, Ownership::kOther}));
    EXPECT_EQ(parse(":1\r\n", 1).keys, std::vector<Ownership>{Ownership::kOurs});
    for (const char *wrong : {"*2\r\n:1\r\n:1\r\n", "*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
                              "*3\r\n:1\r\n:2\r\n:1\r\n", ":1\r\n"}) {
        const ReleaseAnswer answer = parse(wrong, 3);
        EXPECT_FALSE(answer.ok) << wrong;
        EXPECT_TRUE(answer.keys.empty()) << wrong;
        EXPECT_EQ(answer.trouble.kind, TroubleKind::kProtocol) << wrong;
    }
    EXPECT_FALSE(parse("*1\r\n:1\r\n", 1).ok);
}

TEST(Answers, PassErrorsOnAndSeeNoscript) {
    const ReplyOwner gone = Read("-NOSCRIPT No matching script. Please use EVAL.\r\n");
    const ReplyOwner full = Read("-OOM command not allowed\r\n");
    const ReplyView noscript(gone.get());
    const ReplyView oom(full.get());
    EXPECT_TRUE(ParseAcquire(noscript, 1, "t").no_script);
    EXPECT_TRUE(ParseExtend(noscript, 1, "t").no_script);
    EXPECT_TRUE(ParseRelease(noscript, 2).no_script);
    EXPECT_TRUE(ParseRaise(noscript).no_script);
    EXPECT_TRUE(ParseWaits(noscript).no_script);
    EXPECT_FALSE(ParseAcquire(oom, 1, "t").no_script);
    EXPECT_EQ(ParseAcquire(oom, 1, "t").trouble.kind, TroubleKind::kOutOfMemory);
    EXPECT_EQ(ParseExtend(oom, 1, "t").trouble.kind, TroubleKind::kOutOfMemory);
    EXPECT_EQ(ParseRelease(oom, 2).trouble.kind, TroubleKind::kOutOfMemory);
    EXPECT_EQ(ParseRaise(oom).trouble.kind, TroubleKind::kOutOfMemory);
}

}  // namespace
}  // namespace inventory_lock::redis::test
