// The acquire script on a real Redis: who gets a key, who is told what, and that nothing is left
// behind by a request that is not granted.

#include <gtest/gtest.h>

#include <deque>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr char kOurs[] = "pg:aaaa:1:one";
constexpr char kPrev[] = "pg:aaaa:1:zero";
constexpr char kTheirs[] = "pg:bbbb:7:other";
constexpr uint64_t kStep = 1000000000000;  // far ahead of any clock's microseconds: 11 days

AcquireKey Key(std::string_view key, std::string_view token = kOurs, std::string_view prev = "",
               uint64_t floor = 0, int64_t ttl_ms = 30000) {
    return AcquireKey{key, token, prev, ttl_ms, floor};
}

class AcquireTest : public ::testing::Test {
  protected:
    // Nothing but what the test itself has made.
    void ExpectKeys(int64_t count) { EXPECT_EQ(foreign.Integer({"DBSIZE"}), count); }
    void ExpectTaken(const AcquireAnswer &answer, size_t index, BlockerKind kind,
                     std::string_view holder) {
        EXPECT_EQ(answer.result, AcquireResult::kTaken) << answer.trouble.text;
        EXPECT_EQ(answer.blocked_index, index);
        EXPECT_EQ(answer.blocker_kind, kind);
        EXPECT_EQ(answer.blocker, holder);
    }

    Server server;
    Client client{server};
    Client foreign{server};
};

TEST_F(AcquireTest, GivesAFreeKeyWithTokenTtlAndFence) {
    const uint64_t before = foreign.Time_us();
    const AcquireAnswer answer = client.Acquire({Key("k")});
    const uint64_t after = foreign.Time_us();
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_GE(answer.time_us, before);
    EXPECT_LE(answer.time_us, after);
    ASSERT_EQ(answer.fences.size(), 1u);
    EXPECT_EQ(answer.fences[0], answer.time_us);
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
    const int64_t pttl = foreign.Integer({"PTTL", "k"});
    EXPECT_GT(pttl, 29000);
    EXPECT_LE(pttl, 30000);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), std::to_string(answer.fences[0]));
    EXPECT_GT(foreign.Integer({"PTTL", "il:fence:{k}"}), 86390000);
    ExpectKeys(2);
}

TEST_F(AcquireTest, ForeignClientsAreExcludedByWhatItSets) {
    ASSERT_EQ(client.Acquire({Key("k")}).result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Text({"SET", "k", "uuid", "NX", "PX", "1000"}), "(nil)");
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
}

TEST_F(AcquireTest, StandsBackBeforeAForeignToken) {
    foreign.Text({"SET", "k", "some-uuid", "PX", "5000"});
    const AcquireAnswer answer = client.Acquire({Key("k")});
    ExpectTaken(answer, 0, BlockerKind::kForeign, "some-uuid");
    EXPECT_GT(answer.blocker_pttl_ms, 4000);
    EXPECT_LE(answer.blocker_pttl_ms, 5000);
    EXPECT_GT(answer.time_us, 0u);
    ExpectKeys(1);
}

TEST_F(AcquireTest, TellsThatABlockerHasNoExpiry) {
    foreign.Text({"SET", "k", "for-ever"});
    EXPECT_EQ(client.Acquire({Key("k")}).blocker_pttl_ms, -1);
}

TEST_F(AcquireTest, StandsBackBeforeAnotherCluster) {
    foreign.Text({"SET", "k", kTheirs, "PX", "5000"});
    ExpectTaken(client.Acquire({Key("k")}), 0, BlockerKind::kCluster, kTheirs);
}

TEST_F(AcquireTest, StandsBackBeforeAnEmptyValueEvenWithoutPrev) {
    foreign.Text({"SET", "k", "", "PX", "5000"});
    ExpectTaken(client.Acquire({Key("k")}), 0, BlockerKind::kForeign, "");
    EXPECT_EQ(foreign.Text({"GET", "k"}), "");
}

TEST_F(AcquireTest, TellsAtMost256BytesOfABlocker) {
    foreign.Text({"SET", "k", std::string(100000, 'x'), "PX", "5000"});
    ExpectTaken(client.Acquire({Key("k")}), 0, BlockerKind::kForeign, std::string(256, 'x'));
}

TEST_F(AcquireTest, StandsBackBeforeAnyOtherType) {
    foreign.Do({"HSET", "hash", "uuid:1", "1"});
    foreign.Do({"RPUSH", "list", "a"});
    foreign.Do({"SADD", "set", "a"});
    foreign.Do({"ZADD", "zset", "1", "a"});
    foreign.Do({"XADD", "stream", "*", "a", "b"});
    foreign.Do({"PEXPIRE", "hash", "7000"});
    for (const char *key : {"hash", "list", "set", "zset", "stream"}) {
        ExpectTaken(client.Acquire({Key(key)}), 0, BlockerKind::kOtherType, "");
    }
    EXPECT_GT(client.Acquire({Key("hash")}).blocker_pttl_ms, 6000);
    ExpectKeys(5);
}

TEST_F(AcquireTest, TakesItsOwnTokenForALostReplyAndGivesTheFullTtl) {
    const AcquireAnswer first = client.Acquire({Key("k", kOurs, "", 0, 300)});
    const AcquireAnswer second = client.Acquire({Key("k", kOurs, "", 0, 30000)});
    ASSERT_EQ(second.result, AcquireResult::kGranted);
    EXPECT_GT(second.fences[0], first.fences[0]);
    EXPECT_GT(foreign.Integer({"PTTL", "k"}), 29000);
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
}

TEST_F(AcquireTest, OverwritesThePreviousTokenWhoseReleaseIsNotAcknowledged) {
    const AcquireAnswer first = client.Acquire({Key("k", kPrev)});
    const AcquireAnswer second = client.Acquire({Key("k", kOurs, kPrev)});
    ASSERT_EQ(second.result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
    EXPECT_GT(foreign.Integer({"PTTL", "k"}), 29000);
    EXPECT_GT(second.fences[0], first.fences[0]);
    // The old release, should it still come, frees nothing.
    EXPECT_EQ(client.Release({"k", kPrev, 0, 0}).keys.at(0), Ownership::kOther);
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
}

TEST_F(AcquireTest, PrevGivesNoRightToAnybodyElsesKey) {
    foreign.Text({"SET", "k", "uuid", "PX", "5000"});
    ExpectTaken(client.Acquire({Key("k", kOurs, kPrev)}), 0, BlockerKind::kForeign, "uuid");
    EXPECT_EQ(foreign.Text({"GET", "k"}), "uuid");
}

TEST_F(AcquireTest, TakesAllKeysOrNone) {
    foreign.Text({"SET", "b", "uuid", "PX", "5000"});
    ExpectTaken(client.Acquire({Key("a"), Key("b"), Key("c")}), 1, BlockerKind::kForeign, "uuid");
    ExpectKeys(1);
    foreign.Text({"DEL", "b"});
    const AcquireAnswer answer = client.Acquire({Key("a", "t1"), Key("b", "t2"), Key("c", "t3")});
    ASSERT_EQ(answer.result, AcquireResult::kGranted);
    EXPECT_EQ(answer.fences.size(), 3u);
    EXPECT_EQ(foreign.Text({"GET", "a"}), "t1");
    EXPECT_EQ(foreign.Text({"GET", "b"}), "t2");
    EXPECT_EQ(foreign.Text({"GET", "c"}), "t3");
}

TEST_F(AcquireTest, AKeyOfAnotherTypeAtTheEndStopsAllOfThem) {
    foreign.Do({"HSET", "z", "f", "v"});
    foreign.Text({"SET", "b", kPrev});
    ExpectTaken(client.Acquire({Key("a"), Key("b", kOurs, kPrev), Key("z")}), 2,
                BlockerKind::kOtherType, "");
    EXPECT_EQ(foreign.Text({"GET", "b"}), kPrev);
    EXPECT_EQ(foreign.Integer({"PTTL", "b"}), -1);
    ExpectKeys(2);
}

TEST_F(AcquireTest, TakesManyKeysInOneCall) {
    std::deque<std::string> names;
    std::vector<AcquireKey> keys;
    for (int i = 0; i < 2000; i++) {
        const std::string &key = names.emplace_back("k" + std::to_string(i));
        keys.push_back(Key(key, names.emplace_back("t" + std::to_string(i))));
    }
    const AcquireAnswer answer = client.Acquire(keys);
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_EQ(answer.fences.size(), 2000u);
    EXPECT_EQ(foreign.Text({"GET", "k1999"}), "t1999");
}

TEST_F(AcquireTest, AKeyThatMayBeReadAndNotWrittenStopsAllOfThem) {
    foreign.Text({"SET", "k1", kPrev, "PX", "50000"});
    foreign.Do({"ACL", "SETUSER", "half", "on", "nopass", "+@all", "~k*", "~il:*", "%R~r*"});
    EXPECT_EQ(client.Text({"AUTH", "half", ""}), "OK");
    const AcquireAnswer answer = client.Acquire({Key("k1", "t1", kPrev), Key("k2"), Key("r1")});
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    EXPECT_EQ(answer.trouble.kind, TroubleKind::kPermission) << answer.trouble.text;
    EXPECT_EQ(foreign.Text({"GET", "k1"}), kPrev);
    ExpectKeys(1);
}

TEST_F(AcquireTest, ADeniedKeyIsTroubleAndNotABlocker) {
    foreign.Do({"ACL", "SETUSER", "narrow", "on", "nopass", "+@all", "~k*", "~il:*"});
    EXPECT_EQ(client.Text({"AUTH", "narrow", ""}), "OK");
    const ReplyOwner reply = client.Call(MakeAcquire({Key("other")}, {}));
    const AcquireAnswer answer = ParseAcquire(ReplyView(reply.get()), 1, kOurs);
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    EXPECT_EQ(answer.trouble.kind, TroubleKind::kPermission) << answer.trouble.text;
    ExpectKeys(0);
}

TEST_F(AcquireTest, RefusesTheSameKeyTwiceAndLeavesNothing) {
    const AcquireAnswer answer = client.Acquire({Key("k", "t1"), Key("k", "t2")});
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    ExpectKeys(0);
}

TEST_F(AcquireTest, RefusesATtlThatWouldDelete) {
    for (const int64_t ttl : {int64_t{0}, int64_t{-5}}) {
        EXPECT_EQ(client.Acquire({Key("a"), Key("k", kOurs, "", 0, ttl)}).result,
                  AcquireResult::kTrouble);
    }
    ExpectKeys(0);
}

TEST_F(AcquireTest, IsLateAfterNotAfter) {
    AcquireOptions options;
    options.not_after_us = foreign.Time_us() - 1;
    const AcquireAnswer answer = client.Acquire({Key("k")}, options);
    EXPECT_EQ(answer.result, AcquireResult::kLate);
    EXPECT_GT(answer.time_us, options.not_after_us);
    ExpectKeys(0);
    options.not_after_us = foreign.Time_us() + 60000000;
    EXPECT_EQ(client.Acquire({Key("k")}, options).result, AcquireResult::kGranted);
}

TEST_F(AcquireTest, BytesOfAnyKindPassUnchanged) {
    const std::string key("k\0\r\n\xff{x}$5\r\n", 13);
    const std::string token("t\0\r\n\xfe", 5);
    ASSERT_EQ(client.Acquire({Key(key, token)}).result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Text({"GET", key}), token);
    EXPECT_EQ(client.Release({key, token, 0, 0}).keys.at(0), Ownership::kOurs);
}

TEST_F(AcquireTest, KeysWithAHashTagKeepTheirCompanyInTheirSlot) {
    ASSERT_EQ(client.Acquire({Key("lock:{t}x")}).result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:fence:{t}:lock:{t}x"}), 1);
}

TEST_F(AcquireTest, ForgottenScriptsAreSentAsText) {
    const Command command = MakeAcquire({Key("k")}, {});
    const ReplyOwner first = client.Do(command.Argv());
    const AcquireAnswer refused = ParseAcquire(ReplyView(first.get()), 1, kOurs);
    EXPECT_EQ(refused.result, AcquireResult::kTrouble);
    EXPECT_TRUE(refused.no_script);
    const ReplyOwner second = client.Do(command.WithText().Argv());
    EXPECT_EQ(ParseAcquire(ReplyView(second.get()), 1, kOurs).result, AcquireResult::kGranted);
    const ReplyOwner third = client.Do(command.Argv());
    EXPECT_EQ(ParseAcquire(ReplyView(third.get()), 1, kOurs).result, AcquireResult::kGranted);
}

TEST_F(AcquireTest, TheServerAgreesOnEveryHash) {
    for (int i = 0; i < kScripts; i++) {
        const Script script = static_cast<Script>(i);
        EXPECT_EQ(client.Text({"SCRIPT", "LOAD", ScriptText(script)}), ScriptSha(script));
    }
}

// Gaps.

TEST_F(AcquireTest, AGapBlocksAFreeKey) {
    foreign.Text({"SET", "il:gap:{k}", "1", "PX", "5000"});
    const AcquireAnswer answer = client.Acquire({Key("k")});
    ExpectTaken(answer, 0, BlockerKind::kGap, "");
    EXPECT_GT(answer.blocker_pttl_ms, 4000);
    EXPECT_LE(answer.blocker_pttl_ms, 5000);
    ExpectKeys(1);
}

TEST_F(AcquireTest, AGapBlocksThePreviousTokenToo) {
    foreign.Text({"SET", "k", kPrev, "PX", "5000"});
    foreign.Text({"SET", "il:gap:{k}", "1", "PX", "5000"});
    ExpectTaken(client.Acquire({Key("k", kOurs, kPrev)}), 0, BlockerKind::kGap, "");
    EXPECT_EQ(foreign.Text({"GET", "k"}), kPrev);
}

TEST_F(AcquireTest, AGapDoesNotBlockAKeyThatIsOurs) {
    foreign.Text({"SET", "k", kOurs, "PX", "5000"});
    foreign.Text({"SET", "il:gap:{k}", "1", "PX", "5000"});
    EXPECT_EQ(client.Acquire({Key("k")}).result, AcquireResult::kGranted);
}

TEST_F(AcquireTest, AGapThatNeverEndsIsNotOurs) {
    foreign.Text({"SET", "il:gap:{k}", "1"});
    EXPECT_EQ(client.Acquire({Key("k")}).result, AcquireResult::kGranted);
}

TEST_F(AcquireTest, AGapOfOneKeyStopsTheWholeRequest) {
    foreign.Text({"SET", "il:gap:{b}", "1", "PX", "5000"});
    ExpectTaken(client.Acquire({Key("a"), Key("b")}), 1, BlockerKind::kGap, "");
    ExpectKeys(1);
}

// Fences.

TEST_F(AcquireTest, TheFenceIsAboveTheStoredOne) {
    const uint64_t stored = foreign.Time_us() + kStep;
    foreign.Text({"SET", "il:fence:{k}", std::to_string(stored)});
    EXPECT_EQ(client.Acquire({Key("k")}).fences.at(0), stored + 1);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), std::to_string(stored + 1));
    EXPECT_GT(foreign.Integer({"PTTL", "il:fence:{k}"}), 86390000);
}

TEST_F(AcquireTest, TheFenceIsAboveTheFloor) {
    const uint64_t floor = foreign.Time_us() + kStep;
    EXPECT_EQ(client.Acquire({Key("k", kOurs, "", floor)}).fences.at(0), floor + 1);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), std::to_string(floor + 1));
}

TEST_F(AcquireTest, FencesGrowWithEveryGrant) {
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        const AcquireAnswer answer = client.Acquire({Key("k")});
        ASSERT_EQ(answer.result, AcquireResult::kGranted);
        ASSERT_GT(answer.fences[0], last);
        last = answer.fences[0];
        ASSERT_EQ(client.Release({"k", kOurs, 0, 0}).keys.at(0), Ownership::kOurs);
    }
}

TEST_F(AcquireTest, EveryDigitOfAFenceSurvives) {
    const uint64_t stored = (uint64_t{1} << 53) - 3;
    foreign.Text({"SET", "il:fence:{k}", std::to_string(stored)});
    EXPECT_EQ(client.Acquire({Key("k")}).fences.at(0), stored + 1);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "9007199254740990");
}

TEST_F(AcquireTest, WhatIsNoFenceCountsAsNone) {
    for (const char *stored :
         {"", "abc", "-5", "1e16", "0x20000000000000", " 17", "17 ", "3.5", "nan", "inf",
          "9007199254740991", "9007199254740992", "99999999999999999999", "17\n"}) {
        foreign.Text({"SET", "il:fence:{k}", stored});
        const AcquireAnswer answer = client.Acquire({Key("k")});
        ASSERT_EQ(answer.result, AcquireResult::kGranted) << stored;
        EXPECT_EQ(answer.fences[0], answer.time_us) << stored;
        EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), std::to_string(answer.fences[0]));
    }
    foreign.Do({"DEL", "il:fence:{k}"});
    foreign.Do({"HSET", "il:fence:{k}", "a", "b"});
    const AcquireAnswer answer = client.Acquire({Key("k")});
    EXPECT_EQ(answer.fences.at(0), answer.time_us);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), std::to_string(answer.time_us));
}

TEST_F(AcquireTest, AFloorBeyondTheRangeIsRefusedBeforeAnythingIsWritten) {
    for (const uint64_t floor : {kFenceLimit - 1, kFenceLimit, ~uint64_t{0}}) {
        const AcquireAnswer answer = client.Acquire({Key("a"), Key("k", kOurs, "", floor)});
        EXPECT_EQ(answer.result, AcquireResult::kTrouble);
        EXPECT_EQ(answer.trouble.kind, TroubleKind::kOther);
        ExpectKeys(0);
    }
    EXPECT_EQ(client.Acquire({Key("k", kOurs, "", kFenceLimit - 2)}).fences.at(0), kFenceLimit - 1);
}

// Recall.

TEST_F(AcquireTest, AsksTheClusterThatHoldsTheKeyToGiveItUp) {
    Client listener(server);
    listener.Do({"SUBSCRIBE", "il:recall:bbbb"});
    foreign.Text({"SET", "k", kTheirs, "PX", "5000"});
    EXPECT_EQ(client.Acquire({Key("a"), Key("k")}).result, AcquireResult::kTaken);
    const ReplyOwner message = listener.Next();
    const ReplyView view(message.get());
    EXPECT_EQ(view[0].Text(), "message");
    EXPECT_EQ(view[1].Text(), "il:recall:bbbb");
    EXPECT_EQ(view[2].Text(), "k");
}

TEST_F(AcquireTest, RecallsOnlyAnotherClustersTokenAndOnlyWhenAsked) {
    Client listener(server);
    listener.Do({"PSUBSCRIBE", "*"});
    foreign.Text({"SET", "own", "pg:aaaa:0:old", "PX", "5000"});
    foreign.Text({"SET", "foreign", "uuid:pg:bbbb:1:x", "PX", "5000"});
    foreign.Text({"SET", "theirs", kTheirs, "PX", "5000"});
    foreign.Do({"HSET", "hash", "a", "b"});
    EXPECT_EQ(client.Acquire({Key("own")}).result, AcquireResult::kTaken);
    EXPECT_EQ(client.Acquire({Key("foreign")}).result, AcquireResult::kTaken);
    EXPECT_EQ(client.Acquire({Key("hash")}).result, AcquireResult::kTaken);
    AcquireOptions quiet;
    quiet.announce = false;
    EXPECT_EQ(client.Acquire({Key("theirs")}, quiet).result, AcquireResult::kTaken);
    foreign.Do({"PUBLISH", "end", "of test"});
    const ReplyOwner message = listener.Next();
    EXPECT_EQ(ReplyView(message.get())[2].Text(), "end") << "something was published before";
}

TEST_F(AcquireTest, ADeniedChannelCostsTheRecallOnly) {
    foreign.Text({"SET", "k", kTheirs, "PX", "5000"});
    foreign.Do({"ACL", "SETUSER", "mute", "on", "nopass", "+@all", "~*", "resetchannels"});
    EXPECT_EQ(client.Text({"AUTH", "mute", ""}), "OK");
    ExpectTaken(client.Acquire({Key("k")}), 0, BlockerKind::kCluster, kTheirs);
}

// Servers that cannot.

TEST_F(AcquireTest, AFullServerGrantsNothingAndKeepsNothing) {
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    const AcquireAnswer answer = client.Acquire({Key("a"), Key("b")});
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    EXPECT_EQ(answer.trouble.kind, TroubleKind::kOutOfMemory) << answer.trouble.text;
    ExpectKeys(0);
}

TEST_F(AcquireTest, AReplicaGrantsNothing) {
    foreign.Text({"REPLICAOF", "127.0.0.1", "1"});
    const AcquireAnswer answer = client.Acquire({Key("k")});
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    EXPECT_EQ(answer.trouble.kind, TroubleKind::kReadOnly) << answer.trouble.text;
}

TEST_F(AcquireTest, ABusyServerIsToldApart) {
    foreign.Text({"CONFIG", "SET", "busy-reply-threshold", "1"});
    Client busy(server);
    busy.Post({"EVAL", "while true do end", "0"});
    AcquireAnswer answer;
    const int64_t limit = Now_us() + kPatience_us;
    do {
        answer = client.Acquire({Key("k")});
        // Each look takes the key when the endless script has not begun yet.
    } while (answer.result == AcquireResult::kGranted && Now_us() < limit);
    EXPECT_EQ(answer.result, AcquireResult::kTrouble);
    EXPECT_EQ(answer.trouble.kind, TroubleKind::kBusy) << answer.trouble.text;
    EXPECT_EQ(foreign.Text({"SCRIPT", "KILL"}), "OK");
}

}  // namespace
}  // namespace inventory_lock::redis::test
