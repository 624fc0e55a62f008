// Shared keys on a real Redis: several clusters have an intent on one key, nobody has it alone
// meanwhile, and each token counts until its own end.

#include <gtest/gtest.h>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr char kKey[] = "inventory_lock:product:p";
constexpr char kOne[] = "pg:aaaa:1:one";
constexpr char kTwo[] = "pg:bbbb:1:two";
constexpr char kAlone[] = "pg:cccc:1:alone";
constexpr char kWant[] = "il:want:{inventory_lock:product:p}";

AcquireKey Intent(std::string_view token, int64_t ttl_ms = 30000, std::string_view prev = "",
                  std::string_view key = kKey) {
    AcquireKey wanted{key, token, prev, ttl_ms, 0};
    wanted.intent = true;
    return wanted;
}

AcquireKey Exclusive(std::string_view token, std::string_view key = kKey) {
    return AcquireKey{key, token, "", 30000, 0};
}

ReleaseKey Gone(std::string_view token, int64_t gap_ms = 0) {
    return ReleaseKey{kKey, token, 0, gap_ms};
}

class ShareTest : public ::testing::Test {
  protected:
    AcquireResult Share(std::string_view token, int64_t ttl_ms = 30000) {
        return client.Acquire({Intent(token, ttl_ms)}).result;
    }
    bool Has(std::string_view token) {
        return foreign.Text({"GET", kKey}).find(std::string(token) + "=") != std::string::npos;
    }
    int64_t LifeMs() { return foreign.Integer({"PTTL", kKey}); }

    Server server;
    Client client{server};
    Client foreign{server};
};

TEST_F(ShareTest, AKeyOfAnyNameCanBeShared) {
    EXPECT_EQ(client.Acquire({Intent(kOne, 30000, "", "k")}).result, AcquireResult::kGranted);
    EXPECT_EQ(client.Acquire({Intent(kTwo, 30000, "", "k")}).result, AcquireResult::kGranted);
    EXPECT_EQ(client.Acquire({Exclusive(kAlone, "k")}).result, AcquireResult::kTaken);
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:fence:{k}"}), 0);
}

TEST_F(ShareTest, SeveralHaveAnIntentAndNobodyHasTheKeyAlone) {
    const AcquireAnswer answer = client.Acquire({Intent(kOne)});
    ASSERT_EQ(answer.result, AcquireResult::kGranted) << answer.trouble.text;
    EXPECT_EQ(answer.fences, std::vector<uint64_t>{answer.time_us});
    EXPECT_EQ(Share(kTwo), AcquireResult::kGranted);
    EXPECT_TRUE(Has(kOne) && Has(kTwo)) << foreign.Text({"GET", kKey});
    EXPECT_EQ(foreign.Text({"SET", kKey, "uuid", "NX", "PX", "1000"}), "(nil)");
    const AcquireAnswer alone = client.Acquire({Exclusive(kAlone)});
    EXPECT_EQ(alone.result, AcquireResult::kTaken);
    EXPECT_EQ(alone.blocker_kind, BlockerKind::kCluster);
    EXPECT_EQ(alone.blocker, kOne);
    EXPECT_GT(alone.blocker_pttl_ms, 29000);
    EXPECT_EQ(foreign.Integer({"EXISTS", "il:fence:{inventory_lock:product:p}"}), 0);
}

TEST_F(ShareTest, WhoHasTheKeyAloneKeepsIntentsOut) {
    for (const char *holder : {kAlone, "uuid"}) {
        foreign.Text({"SET", kKey, holder, "PX", "5000"});
        EXPECT_EQ(Share(kOne), AcquireResult::kTaken);
        EXPECT_EQ(foreign.Text({"GET", kKey}), holder);
    }
    foreign.Text({"DEL", kKey});
    foreign.Do({"HSET", kKey, "a", "b"});
    EXPECT_EQ(Share(kOne), AcquireResult::kTaken);
}

TEST_F(ShareTest, TheLastOneToLeaveFreesTheKey) {
    Share(kOne);
    Share(kTwo);
    EXPECT_EQ(client.Release(Gone(kOne)).keys.at(0), Ownership::kOurs);
    EXPECT_TRUE(!Has(kOne) && Has(kTwo));
    EXPECT_EQ(client.Release(Gone(kOne)).keys.at(0), Ownership::kOther) << "released twice";
    EXPECT_TRUE(Has(kTwo));
    EXPECT_EQ(client.Release(Gone(kTwo)).keys.at(0), Ownership::kOurs);
    EXPECT_EQ(foreign.Integer({"EXISTS", kKey}), 0);
    EXPECT_EQ(client.Release(Gone(kTwo)).keys.at(0), Ownership::kAbsent);
    EXPECT_EQ(client.Acquire({Exclusive(kAlone)}).result, AcquireResult::kGranted);
}

TEST_F(ShareTest, TheKeyLivesAsLongAsItsLastToken) {
    Share(kOne, 30000);
    Share(kTwo, 2000);
    EXPECT_GT(LifeMs(), 29000) << "the longer of two";
    client.Release(Gone(kOne));
    EXPECT_LE(LifeMs(), 2000) << "what is left of the other";
    EXPECT_GT(LifeMs(), 1000);
    Share(kOne, 60000);
    EXPECT_GT(LifeMs(), 59000);
}

TEST_F(ShareTest, ATokenCountsUntilItsOwnEnd) {
    Share(kOne, 1);
    while (foreign.Integer({"EXISTS", kKey}) != 0) {
    }
    EXPECT_EQ(client.Acquire({Exclusive(kAlone)}).result, AcquireResult::kGranted);
    client.Release({kKey, kAlone, 0, 0});
    // Among others it is gone at the next change.
    Share(kTwo);
    Share(kOne, 1);
    const uint64_t ended_us = foreign.Time_us() + 2000;
    while (foreign.Time_us() < ended_us) {
    }
    EXPECT_EQ(Share("pg:dddd:1:four"), AcquireResult::kGranted);
    EXPECT_FALSE(Has(kOne));
    EXPECT_TRUE(Has(kTwo));
}

TEST_F(ShareTest, ALostAnswerAndAnUnacknowledgedReleaseAreOurs) {
    Share(kOne);
    EXPECT_EQ(Share(kOne), AcquireResult::kGranted);
    const AcquireAnswer next = client.Acquire({Intent("pg:aaaa:1:next", 30000, kOne)});
    EXPECT_EQ(next.result, AcquireResult::kGranted);
    EXPECT_FALSE(Has(kOne)) << "the earlier token is replaced";
    EXPECT_EQ(client.Release(Gone(kOne)).keys.at(0), Ownership::kOther);
    EXPECT_TRUE(Has("pg:aaaa:1:next")) << "its late release takes nothing away";
}

TEST_F(ShareTest, ExtendsItsOwnTokenOnly) {
    Share(kOne, 2000);
    Share(kTwo, 3000);
    EXPECT_EQ(client.Extend({{kKey, kOne, 30000}}).keys.at(0), Ownership::kOurs);
    EXPECT_GT(LifeMs(), 29000);
    client.Release(Gone(kOne));
    EXPECT_LE(LifeMs(), 3000);
    EXPECT_EQ(client.Extend({{kKey, kOne, 30000}}).keys.at(0), Ownership::kOther);
    EXPECT_FALSE(Has(kOne)) << "who has been left out does not come back";
    foreign.Text({"DEL", kKey});
    EXPECT_EQ(client.Extend({{kKey, kTwo, 30000}}).keys.at(0), Ownership::kAbsent);
}

TEST_F(ShareTest, LookingWritesNothing) {
    Share(kOne, 20000);
    foreign.Text({"SET", "alone", kOne, "PX", "20000"});
    Client listener(server);
    const std::string listens = std::to_string(listener.Integer({"CLIENT", "ID"}));
    listener.Do({"SUBSCRIBE", "__redis__:invalidate"});
    foreign.Text({"CLIENT", "TRACKING", "on", "REDIRECT", listens});
    foreign.Do({"MGET", kKey, "alone"});
    const ExtendAnswer answer =
        client.Extend({{kKey, kOne, kOnlyLook}, {"alone", kOne, kOnlyLook}, {kKey, kTwo, -1}});
    EXPECT_EQ(answer.keys,
              (std::vector<Ownership>{Ownership::kOurs, Ownership::kOurs, Ownership::kOther}));
    EXPECT_LE(LifeMs(), 20000);
    EXPECT_EQ(client.Extend({{"alone", kOne, 30000}}).keys.at(0), Ownership::kOurs);
    const ReplyOwner woken = listener.Next();
    EXPECT_EQ(ReplyView(woken.get())[2][0].Text(), "alone") << "looking woke nobody before";
}

TEST_F(ShareTest, WhoWantsTheKeyAloneKeepsNewcomersOutForAWhile) {
    Share(kOne);
    EXPECT_EQ(client.Acquire({Exclusive(kAlone)}).result, AcquireResult::kTaken);
    EXPECT_EQ(foreign.Text({"GET", kWant}), kAlone);
    const AcquireAnswer late = client.Acquire({Intent(kTwo)});
    EXPECT_EQ(late.result, AcquireResult::kTaken);
    EXPECT_EQ(late.blocker_kind, BlockerKind::kGap);
    EXPECT_LE(late.blocker_pttl_ms, 300);
    EXPECT_EQ(Share(kOne), AcquireResult::kGranted) << "who is in stays in";
    EXPECT_EQ(Share("pg:cccc:1:own"), AcquireResult::kGranted) << "its own cluster has a queue";
    client.Release(Gone("pg:cccc:1:own"));
    client.Release(Gone(kOne));
    EXPECT_EQ(client.Acquire({Exclusive(kAlone)}).result, AcquireResult::kGranted);
    EXPECT_EQ(foreign.Integer({"EXISTS", kWant}), 0) << "not wanted any more";
}

TEST_F(ShareTest, AsksAllWhoShareTheKeyToGiveItUp) {
    Client listener(server);
    listener.Do({"PSUBSCRIBE", "il:recall:*"});
    Share(kOne);
    Share(kTwo);
    Share("pg:cccc:1:own");
    client.Acquire({Exclusive(kAlone)});
    foreign.Do({"PUBLISH", "il:recall:end", ""});
    std::string recalled;
    for (int i = 0; i < 3; i++) {
        const ReplyOwner message = listener.Next();
        recalled.append(ReplyView(message.get())[2].Text()).append(" ");
    }
    EXPECT_EQ(recalled, "il:recall:aaaa il:recall:bbbb il:recall:end ");
}

TEST_F(ShareTest, LeavesAGapForPollers) {
    Share(kOne);
    Share(kTwo);
    client.Release(Gone(kOne, 1000));
    EXPECT_EQ(Share(kOne), AcquireResult::kTaken) << "newcomers stand back";
    EXPECT_EQ(Share(kTwo), AcquireResult::kGranted);
}

TEST_F(ShareTest, IsAllOrNothingWithKeysOfItsVariants) {
    foreign.Text({"SET", "inventory_lock:v2", "uuid", "PX", "5000"});
    const AcquireAnswer none = client.Acquire(
        {Intent(kOne), Exclusive(kOne, "inventory_lock:v1"), Exclusive(kOne, "inventory_lock:v2")});
    EXPECT_EQ(none.result, AcquireResult::kTaken);
    EXPECT_EQ(none.blocked_index, 2u);
    EXPECT_EQ(foreign.Integer({"EXISTS", kKey, "inventory_lock:v1"}), 0);
    const AcquireAnswer all = client.Acquire({Intent(kOne), Exclusive(kOne, "inventory_lock:v1")});
    EXPECT_EQ(all.result, AcquireResult::kGranted);
    EXPECT_EQ(all.fences.size(), 2u);
}

TEST_F(ShareTest, IsExtendedAndFreedOnAFullServer) {
    Share(kOne, 2000);
    Share(kTwo, 3000);
    foreign.Text({"SET", "alone", kOne, "PX", "2000"});
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    const ExtendAnswer answer = client.Extend({{kKey, kOne, 30000}, {"alone", kOne, 30000}});
    EXPECT_EQ(answer.keys, (std::vector<Ownership>{Ownership::kOurs, Ownership::kOurs}));
    EXPECT_GT(LifeMs(), 29000);
    EXPECT_EQ(Share("pg:dddd:1:four"), AcquireResult::kTrouble);
    const ReleaseAnswer stays = client.Release(Gone(kTwo));
    EXPECT_FALSE(stays.ok) << "tried again later";
    EXPECT_EQ(stays.trouble.kind, TroubleKind::kOutOfMemory);
    foreign.Text({"CONFIG", "SET", "maxmemory", "0"});
    EXPECT_EQ(client.Release(Gone(kTwo)).keys.at(0), Ownership::kOurs);
    foreign.Text({"CONFIG", "SET", "maxmemory", "1"});
    EXPECT_EQ(client.Release(Gone(kOne)).keys.at(0), Ownership::kOurs) << "the last one is deleted";
    EXPECT_EQ(foreign.Integer({"EXISTS", kKey}), 0);
}

TEST_F(ShareTest, AValueThatOnlyLooksSharedBelongsToWhoWroteIt) {
    foreign.Text({"SET", kKey, "pg:intents:what=ever", "PX", "5000"});
    EXPECT_EQ(client.Acquire({Exclusive(kAlone)}).result, AcquireResult::kTaken);
    EXPECT_EQ(client.Extend({{kKey, kOne, 30000}}).keys.at(0), Ownership::kOther);
    EXPECT_EQ(client.Release(Gone(kOne)).keys.at(0), Ownership::kOther);
    EXPECT_EQ(client.Release(Gone("what")).keys.at(0), Ownership::kOther);
}

TEST_F(ShareTest, ADeadlockIsFoundThroughASharedKey) {
    // The waiter holds "mine" and wants the shared key alone; one who shares it wants "mine".
    foreign.Text({"SET", "mine", kAlone, "PX", "5000"});
    Share(kOne);
    Share(kTwo);
    WaitEdge theirs;
    theirs.for_lease = true;
    theirs.id = 7;
    theirs.fence = 9;
    client.Call(MakeWaits("mine", {kTwo}, theirs, 5000));
    const ReplyOwner reply = client.Call(MakeWaits(kKey, {kAlone}, theirs, 5000));
    const WaitsAnswer answer = ParseWaits(ReplyView(reply.get()));
    EXPECT_TRUE(answer.ok && answer.cycle);
    ASSERT_EQ(answer.path.size(), 1u);
    EXPECT_EQ(answer.path[0].id, 7u);
    // The same circle, seen by the other one: it ends at one's own share of the key.
    const ReplyOwner back = client.Call(MakeWaits("mine", {kTwo}, theirs, 5000));
    EXPECT_TRUE(ParseWaits(ReplyView(back.get())).cycle);
}

TEST(HolderBesideTest, NamesTheFirstWhoIsNotUs) {
    EXPECT_EQ(HolderBeside("uuid", "pg:aaaa:"), "uuid");
    EXPECT_EQ(HolderBeside(kOne, "pg:aaaa:"), "");
    EXPECT_EQ(HolderBeside("pg:intents:pg:aaaa:1:one=5", "pg:aaaa:"), "");
    EXPECT_EQ(HolderBeside("pg:intents:pg:aaaa:1:one=5,pg:bbbb:1:two=6", "pg:aaaa:"), kTwo);
    EXPECT_EQ(HolderBeside("", "pg:aaaa:"), "");
}

}  // namespace
}  // namespace inventory_lock::redis::test
