// The common acquisition and the common release have a short way through their scripts. On a real
// Redis: what they do there, and that everything comes out as by the general way, which any request
// goes that has a product's key among its own.

#include <gtest/gtest.h>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr char kOurs[] = "pg:aaaa:1:one";
constexpr char kPrev[] = "pg:aaaa:1:zero";
constexpr char kFence[] = "il:fence:{k}";
constexpr char kGap[] = "il:gap:{k}";
constexpr uint64_t kCandidate = 8000000000000000;  // far ahead of any clock's microseconds
constexpr uint64_t kHighest = kFenceLimit - 1;

class PlainTest : public ::testing::Test {
  protected:
    // How often the server has executed a command since the statistics were reset.
    int Calls(std::string_view command) {
        const std::string all = foreign.Text({"INFO", "commandstats"});
        const std::string line = std::string("cmdstat_").append(command).append(":calls=");
        const size_t at = all.find(line);
        return at == std::string::npos ? 0 : std::stoi(all.substr(at + line.size()));
    }
    void Reset() { foreign.Text({"CONFIG", "RESETSTAT"}); }
    int64_t TrackedKeys() {
        const std::string all = foreign.Text({"INFO", "stats"});
        constexpr std::string_view kField = "tracking_total_keys:";
        return std::stoll(all.substr(all.find(kField) + kField.size()));
    }

    // A request for key0, key1, …
    struct Many {
        explicit Many(size_t count) : names(count), tokens(count) {
            for (size_t i = 0; i < count; i++) {
                names[i] = "key" + std::to_string(i);
                tokens[i] = "pg:aaaa:1:" + std::to_string(i);
                keys.push_back({names[i], tokens[i], "", 30000, 0});
            }
        }
        std::vector<std::string> names;
        std::vector<std::string> tokens;
        std::vector<AcquireKey> keys;
    };

    Server server;
    Client client{server};
    Client foreign{server};
};

TEST_F(PlainTest, AFreeKeyIsTakenWithFiveCommandsAndGivenBackWithTwo) {
    Reset();
    ASSERT_EQ(client.Acquire({{"k", kOurs, "", 30000, 0}}).result, AcquireResult::kGranted);
    EXPECT_EQ(Calls("time"), 1);
    EXPECT_EQ(Calls("exists"), 2);
    EXPECT_EQ(Calls("set"), 2);
    EXPECT_EQ(Calls("mget") + Calls("get") + Calls("pttl") + Calls("del"), 0);
    Reset();
    ASSERT_EQ(client.Release({"k", kOurs, 0, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(Calls("get"), 1);
    EXPECT_EQ(Calls("del"), 1);
    EXPECT_EQ(Calls("mget") + Calls("exists") + Calls("set"), 0);
}

TEST_F(PlainTest, ManyFreeKeysAreReadNoMoreOftenThanOne) {
    Many many(1024);
    Reset();
    const AcquireAnswer answer = client.Acquire(many.keys);
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_EQ(Calls("time"), 1);
    EXPECT_EQ(Calls("exists"), 2);
    EXPECT_EQ(Calls("set"), 2048);
    EXPECT_EQ(Calls("mget") + Calls("get") + Calls("pttl") + Calls("del"), 0);
    for (const size_t i : {size_t{0}, size_t{511}, size_t{1023}}) {
        EXPECT_EQ(foreign.Text({"GET", many.names[i]}), many.tokens[i]);
        EXPECT_EQ(foreign.Text({"GET", FenceKey(many.names[i])}),
                  std::to_string(answer.fences.at(i)));
    }
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 2048);
}

TEST_F(PlainTest, ManyKeysAreGivenBackWithTwoCommands) {
    std::vector<ReleaseKey> keys;
    Many many(300);
    ASSERT_EQ(client.Acquire(many.keys).result, AcquireResult::kGranted);
    for (const AcquireKey &key : many.keys) {
        keys.push_back({key.key, key.token});
    }
    Reset();
    const ReleaseAnswer answer = client.ReleaseAll(keys);
    EXPECT_EQ(answer.keys, std::vector<Ownership>(300, Ownership::kOurs)) << answer.trouble.text;
    EXPECT_EQ(Calls("mget"), 1);
    EXPECT_EQ(Calls("del"), 1);
    EXPECT_EQ(Calls("get") + Calls("exists") + Calls("set"), 0);
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 300) << "the fences";
}

TEST_F(PlainTest, EachOfManyFencesIsAboveItsOwnStoredOne) {
    Many many(4);
    many.keys[0].floor = kCandidate - 1;
    many.keys[2].floor = 5;
    foreign.Text({"SET", FenceKey("key1"), "8000000000000007"});
    foreign.Do({"HSET", FenceKey("key2"), "a", "b"});
    const AcquireAnswer answer = client.Acquire(many.keys);
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_EQ(answer.fences,
              (std::vector<uint64_t>{kCandidate, kCandidate + 8, answer.time_us, answer.time_us}));
    for (size_t i = 0; i < 4; i++) {
        const std::string fence = FenceKey(many.names[i]);
        EXPECT_EQ(foreign.Text({"GET", fence}), std::to_string(answer.fences[i]));
        EXPECT_GT(foreign.Integer({"PTTL", fence}), 86390000);
    }
}

TEST_F(PlainTest, OneKeyThatCannotBeTakenKeepsAllOfManyFromBeingWritten) {
    const auto expect = [&](std::vector<AcquireKey> keys, AcquireResult result, int64_t present) {
        const AcquireAnswer answer = client.Acquire(keys);
        EXPECT_EQ(answer.result, result) << answer.trouble.text;
        EXPECT_EQ(foreign.Integer({"DBSIZE"}), present);
        foreign.Text({"FLUSHALL"});
        return answer;
    };
    Many many(5);
    foreign.Text({"SET", "key4", "uuid", "PX", "5000"});
    AcquireAnswer answer = expect(many.keys, AcquireResult::kTaken, 1);
    EXPECT_EQ(answer.blocked_index, 4u);
    EXPECT_EQ(answer.blocker, "uuid");
    foreign.Do({"HSET", "key2", "a", "b"});
    EXPECT_EQ(expect(many.keys, AcquireResult::kTaken, 1).blocker_kind, BlockerKind::kOtherType);
    foreign.Text({"SET", GapKey("key3"), "1", "PX", "5000"});
    EXPECT_EQ(expect(many.keys, AcquireResult::kTaken, 1).blocker_kind, BlockerKind::kGap);
    std::vector<AcquireKey> keys = many.keys;
    keys[4].key = keys[0].key;
    EXPECT_NE(expect(keys, AcquireResult::kTrouble, 0).trouble.text.find("named twice"),
              std::string::npos);
    keys = many.keys;
    keys[4].ttl_ms = 0;
    expect(keys, AcquireResult::kTrouble, 0);
    keys = many.keys;
    keys[4].floor = kHighest;
    expect(keys, AcquireResult::kTrouble, 0);
}

TEST_F(PlainTest, AKeyToBeSharedAmongManyIsShared) {
    Many many(3);
    many.keys[1].key = "inventory_lock:product:p";
    many.keys[1].intent = true;
    ASSERT_EQ(client.Acquire(many.keys).result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Text({"GET", "inventory_lock:product:p"}).rfind(kIntentsPrefix, 0), 0u);
    EXPECT_EQ(foreign.Text({"GET", "key2"}), many.tokens[2]);
}

TEST_F(PlainTest, EveryOneOfManyKeysIsTracked) {
    Many many(3);
    Client data(server);
    Client subscriber(server);
    const int64_t id = subscriber.Integer({"CLIENT", "ID"});
    subscriber.Do({"SUBSCRIBE", "__redis__:invalidate"});
    data.Text({"CLIENT", "TRACKING", "ON", "REDIRECT", std::to_string(id), "NOLOOP"});
    ASSERT_EQ(data.Acquire(many.keys).result, AcquireResult::kGranted);
    const int64_t before = TrackedKeys();
    foreign.Do({"DEL", "key0", "key1", "key2"});
    EXPECT_EQ(before - TrackedKeys(), 3);
}

TEST_F(PlainTest, AKeyThatMayBeSharedIsFreedOfWhoWantedIt) {
    constexpr char kWant[] = "il:want:{inventory_lock:product:p}";
    foreign.Text({"SET", kWant, kOurs, "PX", "5000"});
    const AcquireAnswer answer =
        client.Acquire({{"inventory_lock:product:p", kOurs, "", 30000, 0}});
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_EQ(foreign.Integer({"EXISTS", kWant}), 0);
}

TEST_F(PlainTest, AReleaseThatLeavesNothingLeavesTheStoredFence) {
    foreign.Text({"SET", "k", kOurs});
    foreign.Text({"SET", kFence, "17"});
    EXPECT_EQ(client.Release({"k", kOurs, 0, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Text({"GET", kFence}), "17");
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 1);
}

TEST_F(PlainTest, AReleaseThatLeavesNothingTouchesNothingOfAnybodyElse) {
    foreign.Text({"SET", "k", "uuid"});
    foreign.Do({"HSET", "hash", "a", "b"});
    foreign.Text({"SET", "shared", "pg:intents:pg:bbbb:1:x=99999999999999"});
    for (const char *key : {"k", "hash", "shared"}) {
        EXPECT_EQ(client.Release({key, kOurs, 0, 0}).keys.at(0), Ownership::kOther) << key;
    }
    EXPECT_EQ(client.Release({"absent", kOurs, 0, 0}).keys.at(0), Ownership::kAbsent);
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 3);
}

TEST_F(PlainTest, AGapAloneIsLeftWithoutAFence) {
    foreign.Text({"SET", "k", kOurs});
    EXPECT_EQ(client.Release({"k", kOurs, 0, 5000}).keys.at(0), Ownership::kOurs);
    EXPECT_GT(foreign.Integer({"PTTL", kGap}), 4000);
    EXPECT_EQ(foreign.Integer({"DBSIZE"}), 1);
}

// The same question to both ways.
enum class Way { kPlain, kPlainOfMany, kGeneral };

class BothWaysTest : public PlainTest, public ::testing::WithParamInterface<Way> {
  protected:
    std::vector<AcquireKey> Wanted(std::string_view prev = "", uint64_t floor = 0,
                                   int64_t ttl_ms = 30000) {
        std::vector<AcquireKey> keys = {{"k", kOurs, prev, ttl_ms, floor}};
        if (GetParam() != Way::kPlain) {
            keys.push_back({Beside(), "pg:aaaa:1:beside", "", 30000, 0});
        }
        return keys;
    }
    const char *Beside() const {
        return GetParam() == Way::kGeneral ? "inventory_lock:product:beside" : "beside";
    }
    AcquireAnswer Ask(std::string_view prev = "", uint64_t floor = 0, int64_t ttl_ms = 30000) {
        return client.Acquire(Wanted(prev, floor, ttl_ms));
    }
    void ExpectOurs(const AcquireAnswer &answer) {
        ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
        EXPECT_EQ(foreign.Text({"GET", "k"}), kOurs);
        EXPECT_GT(foreign.Integer({"PTTL", "k"}), 29000);
        EXPECT_LE(foreign.Integer({"PTTL", "k"}), 30000);
        EXPECT_EQ(foreign.Text({"GET", kFence}), std::to_string(answer.fences.at(0)));
        EXPECT_GT(foreign.Integer({"PTTL", kFence}), 86390000);
    }
    // Not granted, and nothing written: the fence that was there is, and there are so many keys.
    void ExpectUntouched(int64_t keys) {
        EXPECT_EQ(foreign.Text({"GET", kFence}), "17");
        EXPECT_EQ(foreign.Integer({"PTTL", kFence}), -1);
        EXPECT_EQ(foreign.Integer({"DBSIZE"}), keys);
    }
    void StoreFence() { foreign.Text({"SET", kFence, "17"}); }
};

TEST_P(BothWaysTest, TheFenceIsAboveWhatIsStored) {
    struct Case {
        std::string_view stored;
        uint64_t fence;
    };
    constexpr Case kCases[] = {
        {"1", kCandidate},
        {"7999999999999999", kCandidate},
        {"8000000000000000", kCandidate + 1},
        {"8000000000000001", kCandidate + 2},
        {"9007199254740989", kHighest - 1},
        {"9007199254740990", kHighest},
        {"9007199254740991", kCandidate},
        {"9007199254740992", kCandidate},
        {"08000000000000005", kCandidate},
        {"8000000000000005\n", kCandidate},
        {" 800000000000005", kCandidate},
        {"8000000000000.05", kCandidate},
        {"8.1e15", kCandidate},
        {"0x1fffffffffffe", kCandidate},
        {std::string_view("9000000000000\000", 14), kCandidate},
        {std::string_view("8500000000000000\000", 17), kCandidate},
        {"-8500000000000000", kCandidate},
        {"nan", kCandidate},
        {"inf", kCandidate},
        {"infinity", kCandidate},
        {"", kCandidate},
        {"uuid", kCandidate},
    };
    for (const Case &one : kCases) {
        foreign.Do({"DEL", "k", Beside()});
        foreign.Text({"SET", kFence, one.stored});
        const AcquireAnswer answer = Ask("", kCandidate - 1);
        ExpectOurs(answer);
        EXPECT_EQ(answer.fences.at(0), one.fence) << one.stored;
    }
}

TEST_P(BothWaysTest, TheFenceIsTheTimeWithoutAnythingStored) {
    const uint64_t before = foreign.Time_us();
    const AcquireAnswer answer = Ask();
    ExpectOurs(answer);
    EXPECT_EQ(answer.fences.at(0), answer.time_us);
    EXPECT_GE(answer.time_us, before);
    EXPECT_LE(answer.time_us, foreign.Time_us());
}

TEST_P(BothWaysTest, TheFenceIsAboveTheFloor) {
    const AcquireAnswer answer = Ask("", kCandidate);
    ExpectOurs(answer);
    EXPECT_EQ(answer.fences.at(0), kCandidate + 1);
    EXPECT_LT(answer.time_us, kCandidate);
}

TEST_P(BothWaysTest, AFenceOfAnotherTypeCountsAsNone) {
    foreign.Do({"HSET", kFence, "a", "b"});
    const AcquireAnswer answer = Ask();
    ExpectOurs(answer);
    EXPECT_EQ(answer.fences.at(0), answer.time_us);
}

TEST_P(BothWaysTest, AnExpiredKeyAndAnExpiredGapAreNotThere) {
    foreign.Text({"DEBUG", "SET-ACTIVE-EXPIRE", "0"});
    foreign.Text({"SET", "k", "uuid", "PX", "1"});
    foreign.Text({"SET", kGap, "1", "PX", "1"});
    const uint64_t over = foreign.Time_us() + 2000;
    while (foreign.Time_us() <= over) {
    }
    ExpectOurs(Ask());
}

TEST_P(BothWaysTest, ItsOwnTokenIsTakenAgain) {
    foreign.Text({"SET", "k", kOurs, "PX", "500"});
    ExpectOurs(Ask());
}

TEST_P(BothWaysTest, ThePreviousTokenIsOverwrittenAndMayBeGone) {
    foreign.Text({"SET", "k", kPrev, "PX", "500"});
    ExpectOurs(Ask(kPrev));
    foreign.Do({"DEL", "k", Beside()});
    ExpectOurs(Ask(kPrev));
}

TEST_P(BothWaysTest, AForeignTokenStandsAndNothingIsWritten) {
    StoreFence();
    foreign.Text({"SET", "k", "uuid", "PX", "5000"});
    const AcquireAnswer answer = Ask();
    EXPECT_EQ(answer.result, AcquireResult::kTaken);
    EXPECT_EQ(answer.blocker, "uuid");
    EXPECT_EQ(foreign.Text({"GET", "k"}), "uuid");
    ExpectUntouched(2);
}

TEST_P(BothWaysTest, AKeyOfAnotherTypeIsTakenAndNothingIsWritten) {
    StoreFence();
    foreign.Do({"HSET", "k", "uuid:1", "1"});
    const AcquireAnswer answer = Ask();
    EXPECT_EQ(answer.result, AcquireResult::kTaken);
    EXPECT_EQ(answer.blocker_kind, BlockerKind::kOtherType);
    ExpectUntouched(2);
}

TEST_P(BothWaysTest, AGapStandsAndNothingIsWritten) {
    StoreFence();
    foreign.Text({"SET", kGap, "1", "PX", "5000"});
    const AcquireAnswer answer = Ask();
    EXPECT_EQ(answer.result, AcquireResult::kTaken);
    EXPECT_EQ(answer.blocker_kind, BlockerKind::kGap);
    EXPECT_GT(answer.blocker_pttl_ms, 4000);
    ExpectUntouched(2);
}

TEST_P(BothWaysTest, AGapWithoutEndIsNotOurs) {
    foreign.Text({"SET", kGap, "1"});
    ExpectOurs(Ask());
}

TEST_P(BothWaysTest, WhatComesTooLateWritesNothing) {
    StoreFence();
    AcquireOptions options;
    options.not_after_us = foreign.Time_us() - 1;
    EXPECT_EQ(client.Acquire(Wanted(), options).result, AcquireResult::kLate);
    ExpectUntouched(1);
    options.not_after_us = foreign.Time_us() + 60000000;
    ExpectOurs(client.Acquire(Wanted(), options));
}

TEST_P(BothWaysTest, WhatIsOutOfRangeIsRefusedAndWritesNothing) {
    StoreFence();
    for (const int64_t ttl_ms : {int64_t{0}, int64_t{-5}}) {
        EXPECT_EQ(Ask("", 0, ttl_ms).result, AcquireResult::kTrouble);
        ExpectUntouched(1);
    }
    for (const uint64_t floor : {kHighest, kFenceLimit, ~uint64_t{0}}) {
        EXPECT_EQ(Ask("", floor).result, AcquireResult::kTrouble);
        ExpectUntouched(1);
    }
    AcquireOptions options;
    options.fence_ttl_ms = 0;
    EXPECT_EQ(client.Acquire(Wanted(), options).result, AcquireResult::kTrouble);
    ExpectUntouched(1);
    EXPECT_EQ(Ask("", kHighest - 1).fences.at(0), kHighest);
}

TEST_P(BothWaysTest, AFullServerIsToldAsSuchAndKeepsNothing) {
    StoreFence();
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    EXPECT_EQ(Ask().trouble.kind, TroubleKind::kOutOfMemory);
    ExpectUntouched(1);
}

TEST_P(BothWaysTest, ADeniedCommandIsToldAsSuchAndLeavesNothing) {
    StoreFence();
    for (const char *denied : {"-set", "-exists", "-time"}) {
        foreign.Do({"ACL", "SETUSER", "narrow", "reset", "on", "nopass", "+@all", "~*", denied});
        Client other(server);
        EXPECT_EQ(other.Text({"AUTH", "narrow", ""}), "OK");
        const AcquireAnswer answer = other.Acquire(Wanted());
        EXPECT_EQ(answer.trouble.kind, TroubleKind::kPermission) << denied << answer.trouble.text;
        ExpectUntouched(1);
    }
}

std::string WayName(const ::testing::TestParamInfo<Way> &way) {
    constexpr const char *kNames[] = {"plain", "plain_of_many", "general"};
    return kNames[static_cast<int>(way.param)];
}
INSTANTIATE_TEST_SUITE_P(Ways, BothWaysTest,
                         ::testing::Values(Way::kPlain, Way::kPlainOfMany, Way::kGeneral), WayName);

}  // namespace
}  // namespace inventory_lock::redis::test
