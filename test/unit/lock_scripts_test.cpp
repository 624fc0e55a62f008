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

TEST_F(ScriptTest, ExtendOfNothingAnswersTheTime) {
    const ExtendAnswer answer = client.Extend({});
    EXPECT_TRUE(answer.ok);
    EXPECT_GT(answer.time_us, 0u);
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
    EXPECT_EQ(client.Release({"k", kOurs, 99, 100}).found, Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
}

TEST_F(ScriptTest, ReleaseDeletesWhatIsOurs) {
    Hold("k");
    const ReleaseAnswer answer = client.Release({"k", kOurs, 0, 0});
    EXPECT_TRUE(answer.ok);
    EXPECT_EQ(answer.found, Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 0);
    EXPECT_EQ(client.Release({"k", kOurs, 0, 0}).found, Ownership::kAbsent);
}

TEST_F(ScriptTest, ReleaseTouchesNothingOfAnybodyElse) {
    Hold("k", "uuid");
    foreign.Do({"HSET", "hash", "a", "b"});
    EXPECT_EQ(client.Release({"k", kOurs, 12345, 1000}).found, Ownership::kOther);
    EXPECT_EQ(client.Release({"hash", kOurs, 12345, 1000}).found, Ownership::kOther);
    EXPECT_EQ(client.Release({"absent", kOurs, 12345, 1000}).found, Ownership::kAbsent);
    EXPECT_EQ(foreign.Text({"GET", "k"}), "uuid");
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 2) << "no fence, no gap";
}

TEST_F(ScriptTest, ReleaseRaisesTheStoredFenceAndNeverLowersIt) {
    foreign.Text({"SET", "il:fence:{k}", "1000"});
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 999, 0}).found, Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "1000");
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 9007199254740989, 0}).found, Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "9007199254740989");
    EXPECT_GT(foreign.Integer({"PTTL", "il:fence:{k}"}), 86390000);
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, ~uint64_t{0}, 0}).found, Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", "il:fence:{k}"}), "9007199254740989") << "out of range";
}

TEST_F(ScriptTest, ReleaseLeavesAGapWhenAsked) {
    Hold("k");
    EXPECT_EQ(client.Release({"k", kOurs, 0, 5000}).found, Ownership::kOurs);
    const int64_t gap = foreign.Integer({"PTTL", "il:gap:{k}"});
    EXPECT_GT(gap, 4000);
    EXPECT_LE(gap, 5000);
    Hold("j");
    EXPECT_EQ(client.Release({"j", kOurs, 0, 0}).found, Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:gap:{j}"}), 0);
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

}  // namespace
}  // namespace inventory_lock::redis::test
