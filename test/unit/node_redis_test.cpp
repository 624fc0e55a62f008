// A Node on a real Redis: the handshake with ACL, tracking of keys we wait for and of keys we hold,
// the barrier against a predecessor's late commands, and servers that load, freeze or restart.

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr char kOurs[] = "pg:aaaa:1:one";

class NodeRedisTest : public ::testing::Test {
  protected:
    NodeOptions Options() {
        NodeOptions options;
        options.address = server.address();
        options.lanes = 1;
        options.command_timeout_us = 300000;
        options.recall_channel = "il:recall:aaaa";
        for (int i = 0; i < kScripts; i++) {
            options.scripts.emplace_back(ScriptText(static_cast<Script>(i)));
        }
        return options;
    }
    void Make(NodeOptions options) {
        node = std::make_unique<Node>(std::move(options), recorder);
        loop = std::make_unique<Loop>(*node);
        recorder.on_reply = [this](int, uint64_t tag, ReplyView reply) {
            if (tag == last_tag) {
                acquired = ParseAcquire(reply, 1, kOurs);
                extended = ParseExtend(reply, 1, kOurs);
                released = ParseRelease(reply, 1);
            }
        };
    }
    // Sends and waits for the answer.
    void Call(const Command &command) {
        last_tag++;
        loop->Send(0, last_tag, command.Argv());
        const uint64_t tag = last_tag;
        loop->Until([&] { return recorder.Find(tag) != nullptr; }, "an answer");
    }
    Command AcquireCommand(const std::string &key, int64_t ttl_ms = 30000,
                           uint64_t not_after_us = 0) {
        AcquireOptions options;
        options.not_after_us = not_after_us;
        return MakeAcquire({{key, kOurs, "", ttl_ms, 0}}, options);
    }
    void Acquire(const std::string &key, AcquireResult expected, int64_t ttl_ms = 30000) {
        Call(AcquireCommand(key, ttl_ms));
        EXPECT_EQ(acquired.result, expected) << acquired.trouble.text;
    }
    bool UntilInvalidated(const std::string &key) {
        return loop->Until([&] { return recorder.Invalidated(key); }, "an invalidation");
    }
    // Everything that the server has to tell so far has been heard.
    void Settle() {
        const size_t before = recorder.recalls.size();
        foreign.Do({"PUBLISH", "il:recall:aaaa", "settled"});
        loop->Until([&] { return recorder.recalls.size() > before; }, "our own message");
    }

    Server server;
    Client foreign{server};
    Recorder recorder;
    std::unique_ptr<Node> node;
    std::unique_ptr<Loop> loop;
    uint64_t last_tag = 0;
    AcquireAnswer acquired;
    ExtendAnswer extended;
    ReleaseAnswer released;
};

TEST_F(NodeRedisTest, ComesUpWithBarrierTrackingAndScripts) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(node->status(0).barrier);
    EXPECT_TRUE(node->status(0).tracking);
    EXPECT_EQ(node->run_id().size(), 40u);
    Acquire("k", AcquireResult::kGranted);  // by hash: the handshake has loaded it
    EXPECT_FALSE(acquired.no_script);
    Call(MakeRelease({"k", kOurs, 0, 0}, 1000));
    EXPECT_EQ(released.keys.at(0), Ownership::kOurs);
}

TEST_F(NodeRedisTest, NeedsNoMoreRightsThanTheDocumentedOnes) {
    foreign.Do({"ACL",
                "SETUSER",
                "shop",
                "on",
                ">s3cret",
                "resetkeys",
                "resetchannels",
                "-@all",
                "+eval",
                "+evalsha",
                "+script|load",
                "+get",
                "+mget",
                "+set",
                "+del",
                "+pttl",
                "+pexpire",
                "+exists",
                "+time",
                "+ping",
                "+select",
                "+info",
                "+publish",
                "+subscribe",
                "+object|idletime",
                "+client|id",
                "+client|tracking",
                "+client|kill",
                "~inventory_lock:*",
                "~lock:*",
                "~il:*",
                "&il:recall:*",
                "&__redis__:invalidate"});
    NodeOptions options = Options();
    options.address.user = "shop";
    options.address.database = 2;
    options.password = "s3cret";
    options.client_name = "inventory_lock";
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(node->status(0).barrier);
    EXPECT_TRUE(node->status(0).tracking);
    foreign.Do({"SELECT", "2"});
    foreign.Text({"SET", "lock:theirs", "pg:bbbb:1:x", "PX", "60000"});
    Client listener(server);
    listener.Do({"SUBSCRIBE", "il:recall:bbbb"});
    Acquire("lock:theirs", AcquireResult::kTaken);
    EXPECT_EQ(ReplyView(listener.Next().get())[2].Text(), "lock:theirs");
    Acquire("inventory_lock:1", AcquireResult::kGranted);
    Call(MakeExtend({{"inventory_lock:1", kOurs, 40000}}));
    EXPECT_EQ(extended.keys.at(0), Ownership::kOurs);
    Call(MakeRaise("inventory_lock:1", kOurs, 5, 1000));
    Call(MakeRelease({"inventory_lock:1", kOurs, 1, 100}, 1000));
    EXPECT_EQ(released.keys.at(0), Ownership::kOurs);
    for (const Recorder::Answer &answer : recorder.answers) {
        EXPECT_FALSE(answer.error) << answer.text;
    }
    foreign.Text({"DEL", "lock:theirs"});
    EXPECT_TRUE(UntilInvalidated("lock:theirs"));
}

TEST_F(NodeRedisTest, AWrongPasswordIsToldAsSuchAndComesRightByItself) {
    foreign.Text({"CONFIG", "SET", "requirepass", "new"});
    NodeOptions options = Options();
    options.password = "old";
    Make(options);
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kAuth);
    foreign.Text({"CONFIG", "SET", "requirepass", "old"});
    EXPECT_TRUE(loop->UntilAllReady());
}

TEST_F(NodeRedisTest, AMissingPasswordIsToldAsSuch) {
    foreign.Text({"CONFIG", "SET", "requirepass", "new"});
    Make(Options());
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kAuth);
}

// Tracking of a key that somebody else has.

TEST_F(NodeRedisTest, AForeignReleaseWakes) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    foreign.Text({"SET", "k", "uuid", "PX", "60000"});
    Acquire("k", AcquireResult::kTaken);
    recorder.invalidated.clear();
    foreign.Do({"EVAL",
                "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end", "1",
                "k", "uuid"});
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_F(NodeRedisTest, AnExpiryWakes) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    foreign.Text({"SET", "k", "uuid", "PX", "200"});
    Acquire("k", AcquireResult::kTaken);
    EXPECT_TRUE(UntilInvalidated("k"));
    Acquire("k", AcquireResult::kGranted);
}

TEST_F(NodeRedisTest, AKeyOfAnotherTypeWakesToo) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    foreign.Do({"HSET", "k", "uuid:1", "1"});
    Acquire("k", AcquireResult::kTaken);
    recorder.invalidated.clear();
    foreign.Text({"DEL", "k"});
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_F(NodeRedisTest, AnotherClustersReleaseByScriptWakes) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    const std::string theirs = "pg:bbbb:1:x";
    ASSERT_EQ(foreign.Acquire({{"k", theirs, "", 60000, 0}}).result, AcquireResult::kGranted);
    Acquire("k", AcquireResult::kTaken);
    EXPECT_EQ(acquired.blocker, theirs);
    recorder.invalidated.clear();
    EXPECT_EQ(foreign.Release({"k", theirs, 0, 0}).keys.at(0), Ownership::kOurs);
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_F(NodeRedisTest, EveryFailedTryWatchesAnew) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    for (int i = 0; i < 3; i++) {
        foreign.Text({"SET", "k", "uuid", "PX", "60000"});
        Acquire("k", AcquireResult::kTaken);
        recorder.invalidated.clear();
        foreign.Text({"DEL", "k"});
        ASSERT_TRUE(UntilInvalidated("k")) << i;
    }
}

// Tracking of a key that we hold.

enum class Loss { kDelete, kOverwrite, kOtherType, kExpire, kExpireByForeignRead };
class HeldKeyTest : public NodeRedisTest, public ::testing::WithParamInterface<Loss> {
  protected:
    void Lose(const std::string &key) {
        switch (GetParam()) {
            case Loss::kDelete:
                foreign.Text({"DEL", key});
                break;
            case Loss::kOverwrite:
                foreign.Text({"SET", key, "uuid"});
                break;
            case Loss::kOtherType:
                foreign.Do({"EVAL",
                            "redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], 'a', 1)", "1",
                            key});
                break;
            case Loss::kExpire:
                foreign.Integer({"PEXPIRE", key, "50"});
                Settle();  // that change itself
                Call(MakeExtend({{key, kOurs, 50}}));
                break;
            case Loss::kExpireByForeignRead:
                foreign.Integer({"DEBUG", "SET-ACTIVE-EXPIRE", "0"});
                Call(MakeExtend({{key, kOurs, 20}}));
                Settle();
                recorder.invalidated.clear();
                while (foreign.Text({"GET", key}) != "(nil)") {
                }
                break;
        }
    }
};

TEST_P(HeldKeyTest, IsHeardOfAfterAcquire) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    Settle();
    recorder.invalidated.clear();
    Lose("k");
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_P(HeldKeyTest, IsHeardOfAfterAcquireOfSeveral) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Call(MakeAcquire({{"k", kOurs, "", 30000, 0}, {"other", "pg:aaaa:1:two", "", 30000, 0}}, {}));
    Settle();
    recorder.invalidated.clear();
    Lose("k");
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_P(HeldKeyTest, IsHeardOfAfterExtend) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    for (int i = 0; i < 3; i++) {
        Call(MakeExtend({{"k", kOurs, 30000}}));
        ASSERT_EQ(extended.keys.at(0), Ownership::kOurs);
    }
    Settle();
    recorder.invalidated.clear();
    Lose("k");
    EXPECT_TRUE(UntilInvalidated("k"));
}

TEST_P(HeldKeyTest, IsHeardOfAfterARaise) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    Call(MakeRaise("k", kOurs, 1, 1000));
    Settle();
    recorder.invalidated.clear();
    Lose("k");
    EXPECT_TRUE(UntilInvalidated("k"));
}

std::string LossName(const ::testing::TestParamInfo<Loss> &loss) {
    constexpr const char *kNames[] = {"delete", "overwrite", "other_type", "expire",
                                      "expire_by_read"};
    return kNames[static_cast<int>(loss.param)];
}

INSTANTIATE_TEST_SUITE_P(Loss, HeldKeyTest,
                         ::testing::Values(Loss::kDelete, Loss::kOverwrite, Loss::kOtherType,
                                           Loss::kExpire, Loss::kExpireByForeignRead),
                         LossName);

TEST_F(NodeRedisTest, OurOwnWritesOfAHeldKeyAreNotReported) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    for (int i = 0; i < 5; i++) {
        Call(MakeExtend({{"k", kOurs, 30000}}));
    }
    Call(MakeRelease({"k", kOurs, 0, 0}, 1000));
    Settle();
    EXPECT_FALSE(recorder.Invalidated("k"));
}

TEST_F(NodeRedisTest, FlushallIsHeardOfAsSuch) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    foreign.Text({"FLUSHALL"});
    EXPECT_TRUE(loop->Until([&] { return recorder.all_invalidated > 0; }, "a null invalidation"));
    Call(MakeExtend({{"k", kOurs, 30000}}));
    EXPECT_EQ(extended.keys.at(0), Ownership::kAbsent);
}

TEST_F(NodeRedisTest, FlushdbOfAnotherDatabaseIsAHintAndTheKeyIsStillOurs) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    foreign.Do({"SELECT", "5"});
    foreign.Text({"SET", "x", "y"});
    foreign.Text({"FLUSHDB"});
    EXPECT_TRUE(loop->Until([&] { return recorder.all_invalidated > 0; }, "a null invalidation"));
    Call(MakeExtend({{"k", kOurs, 30000}}));
    EXPECT_EQ(extended.keys.at(0), Ownership::kOurs);
}

TEST_F(NodeRedisTest, ARecallReachesTheHolder) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    EXPECT_EQ(foreign.Acquire({{"k", "pg:bbbb:1:x", "", 1000, 0}}).result, AcquireResult::kTaken);
    ASSERT_TRUE(loop->Until([&] { return !recorder.recalls.empty(); }, "a recall"));
    EXPECT_EQ(recorder.recalls[0], "k");
}

TEST_F(NodeRedisTest, OneLaneDoesAReleaseBeforeTheNextAcquire) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    Acquire("k", AcquireResult::kGranted);
    // All at once, as the worker may: the answers tell the order in which they were done.
    std::vector<int> order;
    recorder.on_reply = [&](int, uint64_t tag, ReplyView reply) {
        order.push_back(static_cast<int>(tag));
        if (tag % 2 == 0) {
            EXPECT_EQ(ParseRelease(reply, 1).keys.at(0), Ownership::kOurs);
        } else {
            EXPECT_EQ(ParseAcquire(reply, 1, kOurs).result, AcquireResult::kGranted);
        }
    };
    for (uint64_t i = 1000; i < 1200; i += 2) {
        loop->Send(0, i, MakeRelease({"k", kOurs, 0, 0}, 1000).Argv());
        loop->Send(0, i + 1, AcquireCommand("k").Argv());
    }
    ASSERT_TRUE(loop->Until([&] { return order.size() == 200; }, "all answers"));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

// Servers in trouble.

TEST_F(NodeRedisTest, AKilledConnectionComesBackAndSoDoesItsTracking) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    for (const char *type : {"pubsub", "normal"}) {
        recorder.downs.clear();
        foreign.Integer({"CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"});
        ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
        EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kClosed);
        ASSERT_TRUE(loop->UntilAllReady());
        foreign.Text({"SET", "k", "uuid", "PX", "60000"});
        Acquire("k", AcquireResult::kTaken);
        recorder.invalidated.clear();
        foreign.Text({"DEL", "k"});
        ASSERT_TRUE(UntilInvalidated("k")) << type;
    }
}

TEST_F(NodeRedisTest, AFrozenServerIsATimeoutAndThenComesBack) {
    Make(Options());
    ASSERT_TRUE(loop->UntilAllReady());
    kill(server.pid(), SIGSTOP);
    loop->Send(0, 77, {"PING"});
    loop->Until([&] { return !recorder.downs.empty(); }, "lane down");
    kill(server.pid(), SIGCONT);
    EXPECT_EQ(recorder.downs.at(0).kind, TroubleKind::kTimeout);
    EXPECT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(recorder.Find(77), nullptr);
}

TEST_F(NodeRedisTest, ARestartedServerIsRecognised) {
    NodeOptions options = Options();
    options.lanes = 3;
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    const std::string before = node->run_id();
    server.Stop();
    ASSERT_TRUE(loop->Until([&] { return recorder.downs.size() >= 3; }, "lanes down"));
    recorder.downs.clear();
    server.Start();
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_NE(node->run_id(), before);
    // Client ids begin at 1 again. Had the lanes killed the old ones, they would have hit each
    // other.
    for (const Recorder::Down &down : recorder.downs) {
        EXPECT_EQ(down.kind, TroubleKind::kRefused) << down.text;
    }
}

TEST_F(NodeRedisTest, ALoadingServerIsToldAsSuchAndComesUpWhenItHasLoaded) {
    foreign.Text({"DEBUG", "POPULATE", "20000"});
    foreign.Text({"SAVE"});
    server.Stop();
    // 20,000 keys of 50 µs each; it answers every 1,024 bytes.
    server.Start({"--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024",
                  "--rdbcompression", "no"});
    Make(Options());
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kLoading) << recorder.downs[0].text;
    EXPECT_TRUE(loop->UntilAllReady());
}

// The barrier.

class BarrierTest : public NodeRedisTest {
  protected:
    // A lane whose acquire is under way when it is given up, and the lane that replaces it.
    void ReplaceALaneWithAnAcquireUnderWay(NodeOptions options, uint64_t not_after_us) {
        options.address = road.address();
        options.address.user = "shop";
        options.password = "x";
        Make(options);
        loop->Add(road);
        ASSERT_TRUE(loop->UntilAllReady());
        EXPECT_TRUE(recorder.downs.empty());
        road.Hold(0);
        loop->Send(0, 1, AcquireCommand("k", 30000, not_after_us).Argv());
        ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
        EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kTimeout);
        EXPECT_GT(road.HeldBytes(0), 0u);
        ASSERT_TRUE(loop->UntilAllReady());
    }
    void AllowUser(std::string_view kill) {
        foreign.Do({"ACL", "SETUSER", "shop", "on", "nopass", "+@all", kill, "~*", "&*"});
    }

    DelayedRoad road{server};
};

TEST_F(BarrierTest, ALateAcquireOfThePredecessorNeverExecutes) {
    AllowUser("+client|kill");
    ReplaceALaneWithAnAcquireUnderWay(Options(), 0);
    EXPECT_TRUE(node->status(0).barrier);
    road.LetGo();
    ASSERT_TRUE(loop->Until([&] { return road.ServerClosed(0); }, "the server has closed"));
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
}

TEST_F(BarrierTest, WithoutItALateAcquireLeavesAnOrphan) {
    AllowUser("-client|kill");
    ReplaceALaneWithAnAcquireUnderWay(Options(), 0);
    EXPECT_FALSE(node->status(0).barrier);
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
    road.LetGo();
    EXPECT_TRUE(loop->Until([&] { return foreign.Integer({"EXISTS", "k"}) == 1; }, "the orphan"));
}

TEST_F(BarrierTest, WithoutItNotAfterKeepsALateAcquireFromTakingAnything) {
    AllowUser("-client|kill");
    const uint64_t not_after_us = foreign.Time_us() + 100000;
    ReplaceALaneWithAnAcquireUnderWay(Options(), not_after_us);
    ASSERT_TRUE(loop->Until([&] { return foreign.Time_us() > not_after_us; }, "it is late"));
    road.LetGo();
    ASSERT_TRUE(loop->Until([&] { return road.Received(0).find("late") != std::string::npos; },
                            "the late answer"));
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
}

TEST_F(BarrierTest, AnEarlierWorkersLateAcquireNeverExecutes) {
    AllowUser("+client|kill");
    NodeOptions options = Options();
    options.address = road.address();
    Make(options);
    loop->Add(road);
    ASSERT_TRUE(loop->UntilAllReady());
    road.Hold(0);
    loop->Send(0, 1, AcquireCommand("k").Argv());
    ASSERT_TRUE(loop->Until([&] { return road.HeldBytes(0) > 0; }, "the acquire is under way"));
    options.old_client_ids = node->client_ids_to_kill();
    options.old_run_id = node->run_id();
    recorder = Recorder();
    Make(options);  // the first worker's sockets close, as when it dies
    loop->Add(road);
    ASSERT_TRUE(loop->UntilAllReady());
    road.LetGo();
    ASSERT_TRUE(loop->Until([&] { return road.ServerClosed(0); }, "the server has closed"));
    EXPECT_EQ(foreign.Integer({"EXISTS", "k"}), 0);
}

}  // namespace
}  // namespace inventory_lock::redis::test
