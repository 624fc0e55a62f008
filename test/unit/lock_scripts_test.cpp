// The extend, release and raise scripts on a real Redis.

#include <gtest/gtest.h>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr char kOurs[] = "pg:aaaa:1:one";

class ScriptTest : public ::testing::Test {
  protected:
    void Hold(std::string_view key, std::string_view token = kOurs) {
        ASSERT_EQ(foreign.Text({"SET", key, token, "PX", "5000"}), "OK");
    }

    Server server;
    Client client{server};
    Client foreign{server};
};

TEST_F(ScriptTest, ExtendTellsOfEveryKeyWhoseItIs) {
    Hold("ours");
    Hold("theirs", "uuid");
    foreign.Do({"HSET", "hash", "a", "b"});
    const uint64_t before = foreign.Time_us();
    const ExtendAnswer answer = client.Extend({{"ours", kOurs, 30000},
                                               {"theirs", kOurs, 30000},
                                               {"hash", kOurs, 30000},
                                               {"absent", kOurs, 30000}});
    ASSERT_TRUE(answer.ok) << answer.trouble.text;
    EXPECT_GE(answer.time_us, before);
    EXPECT_EQ(answer.keys, (std::vector<Ownership>{Ownership::kOurs, Ownership::kOther,
                                                   Ownership::kOther, Ownership::kAbsent}));
    EXPECT_GT(foreign.Integer({"PTTL", "ours"}), 29000);
    EXPECT_LE(foreign.Integer({"PTTL", "theirs"}), 5000);
    EXPECT_EQ(foreign.Integer({"PTTL", "hash"}), -1);
    EXPECT_EQ(foreign.Integer({"EXISTS", "absent"}), 0);
}

TEST_F(ScriptTest, ExtendRefusesATtlThatWouldDelete) {
    Hold("a");
    Hold("b");
    const ExtendAnswer answer = client.Extend({{"a", kOurs, 30000}, {"b", kOurs, 0}});
    EXPECT_FALSE(answer.ok);
    EXPECT_LE(foreign.Integer({"PTTL", "a"}), 5000);
    EXPECT_EQ(foreign.Text({"GET", "b"}), kOurs);
}

TEST_F(ScriptTest, ExtendAndReleaseWorkOnAFullServer) {
    Hold("k");
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    EXPECT_EQ(client.Extend({{"k", kOurs, 30000}}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(client.Release({"k", kOurs, 99, 100}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
}

TEST_F(ScriptTest, ReleaseDeletesWhatIsOurs) {
    Hold("k");
    const ReleaseAnswer answer = client.Release({"k", kOurs, 0, 0});
    EXPECT_TRUE(answer.ok);
    EXPECT_EQ(answer.keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 0);
    EXPECT_EQ(client.Release({"k", kOurs, 0, 0}).keys.at(0), Ownership::kAbsent);
}

TEST_F(ScriptTest, ReleaseTouchesNothingOfAnybodyElse) {
    Hold("k", "uuid");
    foreign.Do({"HSET", "hash", "a", "b"});
    EXPECT_EQ(client.Release({"k", kOurs, 12345, 1000}).keys.at(0), Ownership::kOther);
    EXPECT_EQ(client.Release({"hash", kOurs, 12345, 1000}).keys.at(0), Ownership::kOther);
    EXPECT_EQ(client.Release({"absent", kOurs, 12345, 1000}).keys.at(0), Ownership::kAbsent);
    EXPECT_EQ(foreign.Text({"GET", "k"}), "uuid");
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 2) << "no fence, no gap";
}

TEST_F(ScriptTest, ReleaseRaisesTheStoredFenceAndNeverLowersIt) {
    foreign.Text({"SET", "il:fence:{k}", "1000"});
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 999, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "1000");
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 9007199254740989, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "9007199254740989");
    EXPECT_GT(foreign.Integer({"PTTL", "il:fence:{k}"}), 86390000);
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, ~uint64_t{0}, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "9007199254740989") << "out of range";
}

TEST_F(ScriptTest, ReleaseLeavesAGapWhenAsked) {
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 0, 5000}).keys.at(0), Ownership::kOurs);
    const int64_t gap = foreign.Integer({"PTTL", "il:gap:{k}"});
    EXPECT_GT(gap, 4000);
    EXPECT_LE(gap, 5000);
    Hold("j");
    EXPECT_EQ(client.Release({"j", kOurs, 0, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:gap:{j}"}), 0);
}

TEST_F(ScriptTest, ReleaseOfManyKeysDeletesOnlyOurs) {
    for (const char *key : {"a", "b", "e"}) {
        Hold(key);
    }
    Hold("c", "uuid");
    foreign.Do({"HSET", "d", "a", "b"});
    foreign.Text({"SET", "il:fence:{a}", "1000"});
    foreign.Text({"SET", "z", std::string("pg:intents:") + kOurs + "=9999999999999"});
    const ReleaseAnswer answer = client.ReleaseAll({{"a", kOurs},
                                                    {"absent", kOurs},
                                                    {"b", kOurs},
                                                    {"c", kOurs},
                                                    {"d", kOurs},
                                                    {"e", "pg:aaaa:1:earlier"},
                                                    {"e", kOurs},
                                                    {"z", kOurs}});
    ASSERT_TRUE(answer.ok) << answer.trouble.text;
    constexpr Ownership kMine = Ownership::kOurs;
    constexpr Ownership kNot = Ownership::kOther;
    EXPECT_EQ(answer.keys, (std::vector<Ownership>{kMine, Ownership::kAbsent, kMine, kNot, kNot,
                                                   kNot, kMine, kNot}));
    EXPECT_EQ(foreign.Integer({"EXISTS", "a", "b", "e"}), 0);
    EXPECT_EQ(foreign.Text({"GET", "c"}), "uuid");
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{a}"}), "1000");
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 4) << "c, d, z and the fence";
}

TEST_F(ScriptTest, ReleaseOfManyKeysOfOursWorksOnAFullServer) {
    Hold("a");
    Hold("b");
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    const ReleaseAnswer answer = client.ReleaseAll({{"a", kOurs}, {"b", kOurs}});
    EXPECT_EQ(answer.keys, std::vector<Ownership>(2, Ownership::kOurs));
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 0);
}

TEST_F(ScriptTest, ReleaseOfManyKeysWithOneThatIsDeniedIsTroubleAndDeletesNothing) {
    Hold("k");
    Hold("j1");
    foreign.Do({"ACL", "SETUSER", "narrow", "on", "nopass", "+@all", "~j*"});
    Client other(server);
    EXPECT_EQ(other.Text({"AUTH", "narrow", ""}), "OK");
    EXPECT_EQ(other.ReleaseAll({{"j1", kOurs}, {"k", kOurs}}).trouble.kind,
              TroubleKind::kPermission);
    EXPECT_EQ(foreign.Integer({"EXISTS", "k", "j1"}), 2);
}

TEST_F(ScriptTest, AKeyThatIsDeniedIsTroubleAndNotAbsent) {
    Hold("k");
    foreign.Do({"ACL", "SETUSER", "narrow", "on", "nopass", "+@all", "~j*"});
    EXPECT_EQ(client.Text({"AUTH", "narrow", ""}), "OK");
    EXPECT_EQ(client.Release({"k", kOurs, 5, 0}).trouble.kind, TroubleKind::kPermission);
    EXPECT_EQ(client.Extend({{"k", kOurs, 30000}}).trouble.kind, TroubleKind::kPermission);
    EXPECT_EQ(client.Raise("k", kOurs, 5).trouble.kind, TroubleKind::kPermission);
    EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
}

TEST_F(ScriptTest, RaiseTakesTheGreaterAndAddsOne) {
    Hold("k");
    EXPECT_EQ(client.Raise("k", kOurs, 41).fence, 42u);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "42");
    EXPECT_EQ(client.Raise("k", kOurs, 7).fence, 43u);
    EXPECT_GT(foreign.Integer({"PTTL", "il:fence:{k}"}), 86390000);
    const RaiseAnswer answer = client.Raise("k", kOurs, 9007199254740989);
    EXPECT_TRUE(answer.ok);
    EXPECT_TRUE(answer.ours);
    EXPECT_EQ(answer.fence, 9007199254740990u);
}

TEST_F(ScriptTest, RaiseIsForTheHolderOnly) {
    Hold("k", "uuid");
    foreign.Do({"HSET", "hash", "a", "b"});
    for (const char *key : {"k", "hash", "absent"}) {
        const RaiseAnswer answer = client.Raise(key, kOurs, 41);
        EXPECT_TRUE(answer.ok) << answer.trouble.text;
        EXPECT_FALSE(answer.ours);
    }
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 2);
}

TEST_F(ScriptTest, RaiseRefusesWhatIsBeyondTheRange) {
    Hold("k");
    for (const uint64_t given : {kFenceLimit - 1, kFenceLimit, ~uint64_t{0}}) {
        EXPECT_FALSE(client.Raise("k", kOurs, given).ok);
    }
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:fence:{k}"}), 0);
}

TEST_F(ScriptTest, RaiseReadsGarbageAsNoFence) {
    Hold("k");
    foreign.Do({"HSET", "il:fence:{k}", "a", "b"});
    EXPECT_EQ(client.Raise("k", kOurs, 41).fence, 42u);
}

// Deadlocks between clusters. Each cluster holds a key under a token of its own and waits for
// another's.

class WaitsTest : public ScriptTest {
  protected:
    static std::string TokenOf(int cluster) { return "pg:" + std::to_string(cluster) + ":1:x"; }
    static std::string KeyOf(int cluster) { return "k" + std::to_string(cluster); }
    static WaitEdge EdgeOf(int cluster, bool for_lease = true) {
        WaitEdge edge;
        edge.for_lease = for_lease;
        edge.id = 1000 + static_cast<uint64_t>(cluster);
        edge.fence = 9007199254740000 + static_cast<uint64_t>(cluster);
        return edge;
    }
    // Cluster `cluster` holds its key and waits for that of `other`.
    WaitsAnswer Wait(int cluster, int other, bool for_lease = true) {
        Hold(KeyOf(cluster), TokenOf(cluster));
        const ReplyOwner reply = client.Call(
            MakeWaits(KeyOf(other), {TokenOf(cluster)}, EdgeOf(cluster, for_lease), 5000));
        const WaitsAnswer answer = ParseWaits(ReplyView(reply.get()));
        EXPECT_TRUE(answer.ok) << answer.trouble.text;
        return answer;
    }
};

TEST_F(WaitsTest, TwoThatWaitForEachOtherAreACycle) {
    EXPECT_FALSE(Wait(1, 2).cycle) << "nobody holds the other key";
    const WaitsAnswer answer = Wait(2, 1);
    ASSERT_TRUE(answer.cycle);
    ASSERT_EQ(answer.path.size(), 1u);
    EXPECT_TRUE(answer.path[0].for_lease);
    EXPECT_EQ(answer.path[0].id, 1001u);
    EXPECT_EQ(answer.path[0].fence, 9007199254740001u);
    EXPECT_TRUE(Wait(1, 2).cycle) << "seen from the other side";
}

TEST_F(WaitsTest, TheEdgeIsPublishedForEveryHeldTokenAndPassesAway) {
    const ReplyOwner reply = client.Call(MakeWaits("w", {"pg:a:1:1", "pg:a:1:2"}, EdgeOf(1), 5000));
    EXPECT_TRUE(ParseWaits(ReplyView(reply.get())).ok);
    for (const char *key : {"il:wait:pg:a:1:1", "il:wait:pg:a:1:2"}) {
        EXPECT_EQ(foreign.Text({"GET", key}), "L 1001 9007199254740001 w");
        EXPECT_GT(foreign.Integer({"PTTL", key}), 4000);
        EXPECT_LE(foreign.Integer({"PTTL", key}), 5000);
    }
}

TEST_F(WaitsTest, AChainWithoutAnEndInUsIsOpen) {
    Wait(1, 2);
    Wait(2, 3);
    EXPECT_FALSE(Wait(3, 4).cycle);
    EXPECT_FALSE(Wait(9, 1).cycle) << "9 waits for a cycle that it is no part of";
    EXPECT_TRUE(Wait(3, 1).cycle);
    EXPECT_FALSE(Wait(9, 1).cycle) << "and still is not";
}

TEST_F(WaitsTest, AWaitAtAGateIsPassedAndToldApart) {
    EXPECT_FALSE(Wait(1, 2, false).cycle);
    Hold(KeyOf(2), TokenOf(2));
    EXPECT_FALSE(Wait(1, 2, false).cycle) << "a waiter at a gate does not search";
    const WaitsAnswer answer = Wait(2, 1);
    ASSERT_TRUE(answer.cycle);
    EXPECT_FALSE(answer.path.at(0).for_lease);
}

TEST_F(WaitsTest, TheSearchEndsAtItsDepth) {
    const int depth = static_cast<int>(kMaxWaitDepth);
    for (int i = 1; i < depth; i++) {
        Wait(i, i + 1);
    }
    const WaitsAnswer within = Wait(depth, 1);
    ASSERT_TRUE(within.cycle);
    EXPECT_EQ(within.path.size(), kMaxWaitDepth - 1);
    Wait(depth, depth + 1);
    EXPECT_FALSE(Wait(depth + 1, 1).cycle);
}

TEST_F(WaitsTest, ForeignHoldersAndForeignWordsEndTheSearch) {
    Hold("foreign", "uuid");
    foreign.Do({"HSET", "hash", "a", "b"});
    Hold("long", "pg:" + std::string(300, 'x') + ":1:x");
    Hold("silent", "pg:silent:1:x");
    Hold("babble", "pg:babble:1:x");
    Hold("typed", "pg:typed:1:x");
    foreign.Text({"SET", "il:wait:pg:babble:1:x", "nonsense"});
    foreign.Do({"HSET", "il:wait:pg:typed:1:x", "a", "b"});
    for (const char *key : {"foreign", "hash", "long", "silent", "babble", "typed", "absent"}) {
        const ReplyOwner reply = client.Call(MakeWaits(key, {TokenOf(1)}, EdgeOf(1), 5000));
        const WaitsAnswer answer = ParseWaits(ReplyView(reply.get()));
        EXPECT_TRUE(answer.ok) << key << answer.trouble.text;
        EXPECT_FALSE(answer.cycle) << key;
    }
}

TEST_F(WaitsTest, ANumberThatIsTooLongIsNoCycleThatCanBeJudged) {
    Hold(KeyOf(1), TokenOf(1));
    Hold(KeyOf(2), TokenOf(2));
    foreign.Text({"SET", "il:wait:" + TokenOf(2), "L 99999999999999999999999 1 k1"});
    EXPECT_FALSE(Wait(1, 2).cycle);
}

}  // namespace
}  // namespace inventory_lock::redis::test
