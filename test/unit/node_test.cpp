// A Node against a peer of our own: what the handshake says, and that whatever a peer does costs
// one lane, which then comes back, and nothing else.

#include <gtest/gtest.h>

#include <algorithm>

#include "support.hpp"

namespace inventory_lock::redis::test {
namespace {

NodeOptions Options(const Address &address, int lanes) {
    NodeOptions options;
    options.address = address;
    options.lanes = lanes;
    options.command_timeout_us = 200000;
    options.connect_timeout_us = 200000;
    options.max_reply_bytes = 65536;
    options.scripts = {"return 1"};
    return options;
}

bool Saw(const Peer &peer, const Peer::Argv &argv) {
    return std::find(peer.seen.begin(), peer.seen.end(), argv) != peer.seen.end();
}

class NodeTest : public ::testing::Test {
  protected:
    void Make(NodeOptions options) {
        node = std::make_unique<Node>(std::move(options), recorder);
        loop = std::make_unique<Loop>(*node);
        loop->Add(peer);
    }

    Peer peer;
    Recorder recorder;
    std::unique_ptr<Node> node;
    std::unique_ptr<Loop> loop;
};

TEST_F(NodeTest, SaysTheHandshakeAndNoMore) {
    NodeOptions options = Options(peer.address(), 1);
    options.address.user = "shop";
    options.address.database = 3;
    options.password = "s3cret";
    options.client_name = "inventory_lock";
    options.recall_channel = "il:recall:abc";
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    const std::vector<Peer::Argv> expected = {
        {"AUTH", "shop", "s3cret"},
        {"CLIENT", "SETNAME", "inventory_lock"},
        {"SELECT", "3"},
        {"CLIENT", "ID"},
        {"INFO", "server"},
        {"AUTH", "shop", "s3cret"},
        {"CLIENT", "SETNAME", "inventory_lock"},
        {"CLIENT", "ID"},
        {"SUBSCRIBE", "__redis__:invalidate"},
        {"SUBSCRIBE", "il:recall:abc"},
        {"CLIENT", "KILL", "ID", "9223372036854775807"},
        {"CLIENT", "TRACKING", "ON", "REDIRECT", "2", "NOLOOP"},
        {"SCRIPT", "LOAD", "return 1"},
        {"PING"}};
    EXPECT_EQ(peer.seen, expected);
    const LaneStatus status = node->status(0);
    EXPECT_EQ(status.client_id, 1);
    EXPECT_TRUE(status.barrier);
    EXPECT_TRUE(status.tracking);
    EXPECT_EQ(node->run_id(), "0123456789abcdef0123456789abcdef01234567");
    EXPECT_EQ(node->client_ids_to_kill(), std::vector<int64_t>{1});
    EXPECT_EQ(node->commands_sent(), 0u);
}

TEST_F(NodeTest, LeavesOutWhatIsNotConfigured) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    for (const Peer::Argv &argv : peer.seen) {
        EXPECT_NE(argv[0], "AUTH");
        EXPECT_NE(argv[0], "SELECT");
        EXPECT_FALSE(argv[0] == "CLIENT" && argv[1] == "SETNAME");
    }
}

TEST_F(NodeTest, AnswersComeBackWithTheirTagsAndInOrder) {
    peer.answer = [](Peer::Link &link, const Peer::Argv &argv) {
        if (argv[0] == "ECHO") {
            link.output += "+" + argv[1] + "\r\n";
        }
        return argv[0] == "ECHO";
    };
    Make(Options(peer.address(), 2));
    EXPECT_FALSE(node->Send(0, 1, {"ECHO", "early"}, Now_us()));
    ASSERT_TRUE(loop->UntilAllReady());
    for (uint64_t tag = 0; tag < 500; tag++) {
        loop->Send(0, tag, {"ECHO", std::to_string(tag)});
        loop->Send(1, 1000 + tag, {"ECHO", std::to_string(1000 + tag)});
    }
    EXPECT_EQ(node->status(0).outstanding, 500u);
    ASSERT_TRUE(loop->Until([&] { return recorder.answers.size() == 1000; }, "all answers"));
    uint64_t next[2] = {0, 1000};
    for (const Recorder::Answer &answer : recorder.answers) {
        EXPECT_EQ(answer.tag, next[answer.lane]++);
        EXPECT_EQ(answer.text, std::to_string(answer.tag));
    }
    EXPECT_EQ(node->commands_sent(), 1000u);
    EXPECT_GE(node->status(0).rtt_us, 0);
    EXPECT_EQ(node->status(0).outstanding, 0u);
}

TEST_F(NodeTest, RefusesLanesThatAreNotThere) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_FALSE(node->Send(-1, 1, {"PING"}, Now_us()));
    EXPECT_FALSE(node->Send(1, 1, {"PING"}, Now_us()));
    EXPECT_FALSE(node->Send(0, 1, {}, Now_us()));
    EXPECT_EQ(node->status(7).state, LaneState::kDown);
    node->Drop(7, {}, Now_us());
    node->OnSocket(-1, true, true, Now_us());
    EXPECT_EQ(node->status(0).state, LaneState::kReady);
}

TEST_F(NodeTest, BoundsTheNumberOfLanes) {
    Make(Options(peer.address(), 99));
    EXPECT_EQ(node->lanes(), 16);
    Make(Options(peer.address(), 0));
    EXPECT_EQ(node->lanes(), 1);
}

TEST_F(NodeTest, CommandsMayBeSentFromAnAnswer) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    recorder.on_reply = [&](int lane, uint64_t tag, ReplyView) {
        if (tag < 20) {
            loop->Send(lane, tag + 1, {"NEXT"});
        }
    };
    loop->Send(0, 1, {"NEXT"});
    ASSERT_TRUE(loop->Until([&] { return recorder.Find(20) != nullptr; }, "the last answer"));
}

TEST_F(NodeTest, ALaneMayBeDroppedFromAnAnswer) {
    Make(Options(peer.address(), 2));
    ASSERT_TRUE(loop->UntilAllReady());
    bool within = false;
    recorder.on_reply = [&](int lane, uint64_t, ReplyView) {
        within = true;
        node->Drop(lane, {TroubleKind::kProtocol, "makes no sense"}, Now_us());
        EXPECT_TRUE(recorder.downs.empty()) << "the owner is called while it is calling";
        EXPECT_FALSE(node->Send(lane, 9, {"X"}, Now_us()));
        within = false;
    };
    loop->Send(0, 1, {"A"});
    loop->Send(0, 2, {"B"});
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].lane, 0);
    EXPECT_EQ(recorder.downs[0].text, "makes no sense");
    EXPECT_EQ(recorder.answers.size(), 1u) << "the second answer is forgotten";
    recorder.on_reply = nullptr;
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(std::count(recorder.ready.begin(), recorder.ready.end(), 1), 1);
}

TEST_F(NodeTest, DropOutsideOfAnEventIsToldInTheNextStep) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    const uint64_t generation = node->socket_generation();
    node->Drop(0, {TroubleKind::kOther, "by hand"}, Now_us());
    EXPECT_TRUE(recorder.downs.empty());
    EXPECT_EQ(node->status(0).state, LaneState::kDown);
    EXPECT_TRUE(node->Sockets().empty());
    EXPECT_NE(node->socket_generation(), generation);
    node->Step(Now_us());
    EXPECT_EQ(recorder.downs.size(), 1u);
    node->Step(Now_us());
    EXPECT_EQ(recorder.downs.size(), 1u);
}

TEST_F(NodeTest, TheSuccessorKillsItsPredecessorFirst) {
    Make(Options(peer.address(), 2));
    ASSERT_TRUE(loop->UntilAllReady());
    const int64_t old_id = node->status(1).client_id;
    peer.seen.clear();
    node->Drop(1, {TroubleKind::kOther, "by hand"}, Now_us());
    EXPECT_EQ(node->client_ids_to_kill()[1], old_id);
    ASSERT_TRUE(loop->UntilReady(1));
    EXPECT_TRUE(Saw(peer, {"CLIENT", "KILL", "ID", std::to_string(old_id)}));
    EXPECT_NE(node->status(1).client_id, old_id);
}

TEST_F(NodeTest, AFailedAttemptDoesNotForgetWhomToKill) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    const Peer::Argv kill = {"CLIENT", "KILL", "ID", std::to_string(node->status(0).client_id)};
    int refusals = 0;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (argv == kill && refusals < 2) {
            refusals++;
            link.output += "-LOADING not yet\r\n";
            return true;
        }
        return false;
    };
    peer.seen.clear();
    node->Drop(0, {TroubleKind::kOther, "by hand"}, Now_us());
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(std::count(peer.seen.begin(), peer.seen.end(), kill), 3);
}

TEST_F(NodeTest, ARestartedServersClientsAreNotKilled) {
    int life = 0;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (argv[0] != "INFO") {
            return false;
        }
        link.output += life == 0 ? "$15\r\nrun_id:aaaaaaa\n\r\n" : "$15\r\nrun_id:bbbbbbb\n\r\n";
        return true;
    };
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    const std::string old_id = std::to_string(node->status(0).client_id);
    life = 1;
    peer.seen.clear();
    node->Drop(0, {TroubleKind::kOther, "by hand"}, Now_us());
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_FALSE(Saw(peer, {"CLIENT", "KILL", "ID", old_id}));
    EXPECT_EQ(node->run_id(), "bbbbbbb");
}

TEST_F(NodeTest, AnEarlierWorkersConnectionsAreKilledByTheirLanes) {
    NodeOptions options = Options(peer.address(), 2);
    options.old_client_ids = {501, 0};
    Make(options);
    EXPECT_EQ(node->client_ids_to_kill(), (std::vector<int64_t>{501, 0}));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(
        std::count(peer.seen.begin(), peer.seen.end(), (Peer::Argv{"CLIENT", "KILL", "ID", "501"})),
        1);
}

TEST_F(NodeTest, AfterAChangeOfTheNumberOfLanesEveryLaneKillsThemAll) {
    NodeOptions options = Options(peer.address(), 2);
    options.old_client_ids = {501, 502, 503};
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    for (const char *id : {"501", "502", "503"}) {
        EXPECT_EQ(std::count(peer.seen.begin(), peer.seen.end(),
                             (Peer::Argv{"CLIENT", "KILL", "ID", id})),
                  2);
    }
}

TEST_F(NodeTest, OldIdsOfAnotherServerProcessAreLeftAlone) {
    NodeOptions options = Options(peer.address(), 1);
    options.old_client_ids = {501};
    options.old_run_id = "another";
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_FALSE(Saw(peer, {"CLIENT", "KILL", "ID", "501"}));
}

// Services that may be denied.

struct Denial {
    const char *name;
    Peer::Argv command;  // the first words
    const char *error;
    bool barrier;
    bool tracking;
};

class DeniedTest : public NodeTest, public ::testing::WithParamInterface<Denial> {};

TEST_P(DeniedTest, TheLaneComesUpWithAServiceLess) {
    const Denial &denial = GetParam();
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (argv.size() < denial.command.size() ||
            !std::equal(denial.command.begin(), denial.command.end(), argv.begin())) {
            return false;
        }
        link.output += denial.error;
        return true;
    };
    NodeOptions options = Options(peer.address(), 1);
    options.client_name = "name";
    options.recall_channel = "recall";
    options.old_client_ids = {501};
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(recorder.downs.empty());
    EXPECT_EQ(node->status(0).barrier, denial.barrier);
    EXPECT_EQ(node->status(0).tracking, denial.tracking);
}

constexpr char kNoPerm[] = "-NOPERM this user has no permissions\r\n";
constexpr char kUnknown[] = "-ERR unknown subcommand\r\n";

INSTANTIATE_TEST_SUITE_P(
    Node, DeniedTest,
    ::testing::Values(
        Denial{"setname", {"CLIENT", "SETNAME"}, kNoPerm, true, true},
        Denial{"client_id", {"CLIENT", "ID"}, kNoPerm, false, false},
        Denial{"info", {"INFO"}, kNoPerm, true, true},
        Denial{"kill", {"CLIENT", "KILL"}, kNoPerm, false, true},
        Denial{"kill_unknown", {"CLIENT", "KILL"}, kUnknown, false, true},
        Denial{"kill_gone", {"CLIENT", "KILL"}, "-ERR No such client\r\n", true, true},
        Denial{"tracking", {"CLIENT", "TRACKING"}, kNoPerm, true, false},
        Denial{"tracking_unknown", {"CLIENT", "TRACKING"}, kUnknown, true, false},
        Denial{"invalidate", {"SUBSCRIBE", "__redis__:invalidate"}, kNoPerm, true, false},
        Denial{"recall", {"SUBSCRIBE", "recall"}, kNoPerm, true, true},
        Denial{"script_load", {"SCRIPT"}, kNoPerm, true, true},
        Denial{"ping", {"PING"}, kNoPerm, true, true}),
    [](const auto &denial) { return std::string(denial.param.name); });

TEST_F(NodeTest, WithoutTrackingItIsNotAskedFor) {
    peer.answer = [](Peer::Link &link, const Peer::Argv &argv) {
        if (argv[0] == "SUBSCRIBE") {
            link.output += kNoPerm;
        }
        return argv[0] == "SUBSCRIBE";
    };
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_FALSE(Saw(peer, {"CLIENT", "TRACKING", "ON", "REDIRECT", "2", "NOLOOP"}));
}

// What a peer may do to a handshake.

struct Assault {
    const char *name;
    Peer::Argv command;  // the first words of what is answered so
    std::string bytes;
    bool close;
    TroubleKind kind;
};

class HandshakeTest : public NodeTest, public ::testing::WithParamInterface<Assault> {};

TEST_P(HandshakeTest, FailsThatLaneAloneAndComesBack) {
    const Assault &assault = GetParam();
    constexpr int kVictims = 2;  // the first lane's first two connections
    bool done = false;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (link.number >= kVictims || argv.size() < assault.command.size() ||
            !std::equal(assault.command.begin(), assault.command.end(), argv.begin())) {
            return false;
        }
        done = true;
        link.output += assault.bytes;
        link.close_after_output = assault.close;
        return true;
    };
    NodeOptions options = Options(peer.address(), 2);
    options.password = "s3cret";
    options.address.database = 1;
    Make(options);
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(done);
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].lane, 0);
    EXPECT_EQ(recorder.downs[0].kind, assault.kind) << recorder.downs[0].text;
    EXPECT_FALSE(recorder.downs[0].text.empty());
    EXPECT_EQ(recorder.downs[0].text.find("s3cret"), std::string::npos) << recorder.downs[0].text;
    EXPECT_EQ(node->status(0).last_trouble.kind, assault.kind);
    EXPECT_EQ(node->status(1).last_trouble.kind, TroubleKind::kNone);
}

INSTANTIATE_TEST_SUITE_P(
    Node, HandshakeTest,
    ::testing::Values(
        Assault{"auth_refused", {"AUTH"}, "-WRONGPASS invalid\r\n", false, TroubleKind::kAuth},
        Assault{"auth_echoes_the_secret",
                {"AUTH"},
                "-ERR unknown command 'AUTH', with args beginning with: 's3cret' \r\n",
                false,
                TroubleKind::kAuth},
        Assault{"auth_code_is_the_secret", {"AUTH"}, "-s3cret\r\n", false, TroubleKind::kAuth},
        Assault{"too_many_clients",
                {"AUTH"},
                "-ERR max number of clients reached\r\n",
                true,
                TroubleKind::kClosed},
        Assault{"echo",
                {"AUTH"},
                "*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n",
                false,
                TroubleKind::kProtocol},
        Assault{"select_refused",
                {"SELECT"},
                "-ERR DB index is out of range\r\n",
                false,
                TroubleKind::kOther},
        Assault{"loading_at_ping",
                {"PING"},
                "-LOADING Redis is loading\r\n",
                false,
                TroubleKind::kLoading},
        Assault{"busy_at_script", {"SCRIPT"}, "-BUSY Redis is busy\r\n", false, TroubleKind::kBusy},
        Assault{"id_is_no_number", {"CLIENT", "ID"}, "+OK\r\n", false, TroubleKind::kProtocol},
        Assault{"id_is_negative", {"CLIENT", "ID"}, ":-1\r\n", false, TroubleKind::kProtocol},
        Assault{"info_is_an_array", {"INFO"}, "*0\r\n", false, TroubleKind::kProtocol},
        Assault{"subscribed_elsewhere",
                {"SUBSCRIBE"},
                "*3\r\n+subscribe\r\n+other\r\n:1\r\n",
                false,
                TroubleKind::kProtocol},
        Assault{"subscribe_ok", {"SUBSCRIBE"}, "+OK\r\n", false, TroubleKind::kProtocol},
        Assault{"sha_is_short", {"SCRIPT"}, "$1\r\na\r\n", false, TroubleKind::kProtocol},
        Assault{"ping_is_wrong", {"PING"}, "+OK\r\n", false, TroubleKind::kProtocol},
        Assault{"kill_is_nil", {"CLIENT", "KILL"}, "$-1\r\n", false, TroubleKind::kProtocol},
        Assault{"garbage", {"CLIENT", "ID"}, "\x16\x03\x01garbage", false, TroubleKind::kProtocol},
        Assault{"silence", {"INFO"}, "", false, TroubleKind::kTimeout},
        Assault{"silence_later", {"PING"}, "", false, TroubleKind::kTimeout},
        Assault{"close", {"AUTH"}, "+OK\r\n", true, TroubleKind::kClosed},
        Assault{"half_and_close", {"INFO"}, "$100\r\nrun", true, TroubleKind::kClosed},
        Assault{"message_of_an_unknown_channel",
                {"SUBSCRIBE"},
                "*3\r\n+message\r\n+x\r\n+y\r\n",
                false,
                TroubleKind::kProtocol}),
    [](const auto &assault) { return std::string(assault.param.name); });

// What a peer may do to a lane that is up: in answer to a command, …

class CommandTest : public NodeTest, public ::testing::WithParamInterface<Assault> {};

TEST_P(CommandTest, CostsThatLaneAloneAndItComesBack) {
    const Assault &assault = GetParam();
    bool done = false;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (argv[0] != "GO" || done) {
            return false;
        }
        done = true;
        link.output += assault.bytes;
        link.close_after_output = assault.close;
        return true;
    };
    Make(Options(peer.address(), 2));
    ASSERT_TRUE(loop->UntilAllReady());
    loop->Send(0, 1, {"GO"});
    loop->Send(0, 2, {"NEXT"});
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    loop->Send(1, 3, {"OTHER"});
    ASSERT_TRUE(loop->Until([&] { return recorder.Find(3) != nullptr; }, "the other lane works"));
    ASSERT_TRUE(loop->UntilAllReady());
    loop->Send(0, 4, {"GO"});
    ASSERT_TRUE(loop->Until([&] { return recorder.Find(4) != nullptr; }, "the lane works again"));
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].lane, 0);
    EXPECT_EQ(recorder.downs[0].kind, assault.kind) << recorder.downs[0].text;
    EXPECT_EQ(recorder.ready, (std::vector<int>{0, 1, 0}));
}

std::string Repeat(std::string_view text, int times) {
    std::string whole;
    for (int i = 0; i < times; i++) {
        whole += text;
    }
    return whole;
}

INSTANTIATE_TEST_SUITE_P(
    Node, CommandTest,
    ::testing::Values(
        Assault{"garbage", {}, "HTTP/1.1 200 OK\r\n\r\n", false, TroubleKind::kProtocol},
        Assault{"resp3", {}, ">2\r\n+a\r\n+b\r\n", false, TroubleKind::kProtocol},
        Assault{"endless_bulk",
                {},
                "$500000000\r\n" + std::string(200000, 'x'),
                false,
                TroubleKind::kProtocol},
        Assault{"endless_line", {}, "+" + std::string(200000, 'x'), false, TroubleKind::kProtocol},
        Assault{"endless_array",
                {},
                "*20000\r\n" + Repeat("$4\r\nabcd\r\n", 15000),
                false,
                TroubleKind::kProtocol},
        Assault{
            "eight_gigabytes_of_pointers", {}, "*1000000000\r\n", false, TroubleKind::kProtocol},
        Assault{"nested_arrays", {}, Repeat("*1\r\n", 200), false, TroubleKind::kProtocol},
        Assault{"nested_wide_arrays", {}, Repeat("*5000\r\n", 6), false, TroubleKind::kProtocol},
        Assault{"silence", {}, "", false, TroubleKind::kTimeout},
        Assault{"half_a_reply", {}, "$10\r\nabc", false, TroubleKind::kTimeout},
        Assault{"half_a_reply_and_close", {}, "$10\r\nabc", true, TroubleKind::kClosed},
        Assault{"one_answer_too_many", {}, "+1\r\n+2\r\n+3\r\n", false, TroubleKind::kProtocol}),
    [](const auto &assault) { return std::string(assault.param.name); });

// … or unasked, on either connection.

struct Unasked {
    const char *name;
    int link;  // 0 = the first lane's data connection, 1 = its subscriber
    std::string bytes;
};

class UnaskedTest : public NodeTest, public ::testing::WithParamInterface<Unasked> {};

TEST_P(UnaskedTest, CostsThatLaneAloneAndItComesBack) {
    Make(Options(peer.address(), 2));
    ASSERT_TRUE(loop->UntilAllReady());
    peer.Say(GetParam().link, GetParam().bytes);
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    ASSERT_TRUE(loop->UntilAllReady());
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].lane, 0);
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kProtocol);
    EXPECT_TRUE(recorder.answers.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Node, UnaskedTest,
    ::testing::Values(
        Unasked{"ok_on_data", 0, "+OK\r\n"}, Unasked{"error_on_data", 0, "-ERR\r\n"},
        Unasked{"message_on_data", 0, "*3\r\n+message\r\n+__redis__:invalidate\r\n*0\r\n"},
        Unasked{"ok_on_subscriber", 1, "+OK\r\n"}, Unasked{"error_on_subscriber", 1, "-ERR\r\n"},
        Unasked{"unsubscribe", 1, "*3\r\n+unsubscribe\r\n+__redis__:invalidate\r\n:0\r\n"},
        Unasked{"unknown_channel", 1, "*3\r\n+message\r\n+other\r\n+x\r\n"},
        Unasked{"short_message", 1, "*2\r\n+message\r\n+__redis__:invalidate\r\n"},
        Unasked{"message_of_text", 1, "*3\r\n+message\r\n+__redis__:invalidate\r\n+x\r\n"},
        Unasked{"recall_without_a_channel", 1, "*3\r\n+message\r\n+\r\n+x\r\n"}),
    [](const auto &unasked) { return std::string(unasked.param.name); });

TEST_F(NodeTest, InvalidationsAndRecallsReachTheOwner) {
    NodeOptions options = Options(peer.address(), 1);
    options.recall_channel = "il:recall:me";
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    peer.Say(1,
             "*3\r\n$7\r\nmessage\r\n+__redis__:invalidate\r\n*2\r\n$1\r\na\r\n$3\r\nb\n"
             "c\r\n"
             "*3\r\n$7\r\nmessage\r\n+__redis__:invalidate\r\n$-1\r\n"
             "*3\r\n$7\r\nmessage\r\n+__redis__:invalidate\r\n*-1\r\n"
             "*3\r\n$7\r\nmessage\r\n+il:recall:me\r\n$3\r\nkey\r\n");
    ASSERT_TRUE(loop->Until([&] { return !recorder.recalls.empty(); }, "recall"));
    EXPECT_EQ(recorder.invalidated, (std::vector<std::string>{"a", "b\nc"}));
    EXPECT_EQ(recorder.all_invalidated, 2);
    EXPECT_EQ(recorder.recalls, std::vector<std::string>{"key"});
    EXPECT_TRUE(recorder.downs.empty());
}

TEST_F(NodeTest, AFloodOnOneLaneDoesNotStopTheOther) {
    NodeOptions options = Options(peer.address(), 2);
    options.command_timeout_us = kPatience_us;
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    const std::string message = "*3\r\n+message\r\n+__redis__:invalidate\r\n*1\r\n$100\r\n" +
                                std::string(100, 'k') + "\r\n";
    peer.Say(1, Repeat(message, 50000));
    loop->Send(1, 7, {"OTHER"});
    ASSERT_TRUE(loop->Until([&] { return recorder.Find(7) != nullptr; }, "the other lane works"));
    EXPECT_LT(recorder.invalidated.size(), 50000u) << "it had to wait for the whole flood";
    ASSERT_TRUE(loop->Until([&] { return recorder.invalidated.size() == 50000; }, "all of it"));
    EXPECT_TRUE(recorder.downs.empty());
}

// Time.

TEST_F(NodeTest, AnIdleSubscriberIsPingedAndMissedWhenItIsSilent) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    bool mute = false;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        return mute && link.subscribed && argv[0] == "PING";
    };
    const auto pings = [&] {
        return std::count(peer.seen.begin(), peer.seen.end(), Peer::Argv{"PING"});
    };
    ASSERT_TRUE(loop->Until([&] { return pings() == 3; }, "two pings"));  // and the handshake's
    EXPECT_TRUE(recorder.downs.empty());
    mute = true;
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kTimeout);
}

TEST_F(NodeTest, AnAnswerThatWaitedForUsIsNotLate) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    loop->Send(0, 1, {"GO"});
    node->Flush(Now_us());
    std::vector<pollfd> sockets;
    ASSERT_TRUE(loop->Until(
        [&] {
            // Turn the peer alone: the answer comes, and nobody looks at it.
            sockets.clear();
            peer.AddSockets(sockets);
            poll(sockets.data(), sockets.size(), 10);
            for (const pollfd &socket : sockets) {
                if (socket.revents != 0) {
                    peer.OnEvents(socket);
                }
            }
            return peer.seen.back() == Peer::Argv{"GO"};
        },
        "the peer has answered"));
    node->Step(Now_us() + 10000000);
    ASSERT_EQ(recorder.answers.size(), 1u);
    EXPECT_TRUE(recorder.downs.empty());
}

TEST_F(NodeTest, NobodyListeningIsRefusedAndTriedAgainWithGrowingPauses) {
    Address nowhere;
    nowhere.host = "127.0.0.1";
    {
        Peer closed;
        nowhere.port = closed.address().port;
    }
    Make(Options(nowhere, 1));
    // Time is ours here: jump to each attempt.
    int64_t now_us = Now_us();
    std::vector<int64_t> pauses;
    while (pauses.size() < 9) {
        const size_t before = recorder.downs.size();
        while (recorder.downs.size() == before) {
            node->Step(now_us);
            for (const Socket &socket : node->Sockets()) {
                pollfd event = {socket.fd, POLLOUT, 0};
                poll(&event, 1, 1000);
                node->OnSocket(socket.fd, true, true, now_us);
            }
        }
        EXPECT_EQ(recorder.downs.back().kind, TroubleKind::kRefused);
        const int64_t next_us = node->Step(now_us);
        pauses.push_back(next_us - now_us);
        EXPECT_EQ(node->Step(next_us - 1), next_us) << "not before its time";
        EXPECT_TRUE(node->Sockets().empty());
        now_us = next_us;
    }
    int64_t expected_us = 50000;
    for (const int64_t pause_us : pauses) {
        EXPECT_GE(pause_us, expected_us * 3 / 4);
        EXPECT_LE(pause_us, expected_us * 5 / 4);
        expected_us = std::min<int64_t>(expected_us * 2, 2000000);
    }
}

TEST_F(NodeTest, AMissingSocketFileIsRefused) {
    Folder folder;
    Address address;
    address.transport = Transport::kUnix;
    address.path = folder.path() + "/none.sock";
    Make(Options(address, 1));
    node->Step(Now_us());
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kRefused);
}

TEST_F(NodeTest, AConnectionThatIsNeverAcceptedTimesOut) {
    // The listener's queue takes the connection, but the handshake finds no answer.
    peer.accepting = false;
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "lane down"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kTimeout);
    peer.accepting = true;
    ASSERT_TRUE(loop->UntilAllReady());
}

TEST_F(NodeTest, AConnectThatHangsIsUnreachable) {
    Address blackhole;
    blackhole.host = "127.0.0.1";
    blackhole.port = peer.address().port;
    Make(Options(blackhole, 1));
    const int64_t now_us = Now_us();
    node->Step(now_us);
    ASSERT_EQ(node->status(0).state, LaneState::kConnecting);
    EXPECT_EQ(node->Step(now_us), now_us + 200000);
    node->Step(now_us + 200000);
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kUnreachable);
}

TEST_F(NodeTest, ANameThatDoesNotResolveIsToldAndNotTried) {
    Address nowhere;
    nowhere.host = "no-such-host.invalid";
    Make(Options(nowhere, 2));
    EXPECT_FALSE(node->resolved());
    EXPECT_GT(node->Step(Now_us()), Now_us());
    EXPECT_EQ(node->status(0).state, LaneState::kDown);
    EXPECT_EQ(node->status(1).last_trouble.kind, TroubleKind::kUnreachable);
    EXPECT_NE(node->status(0).last_trouble.text.find("resolved"), std::string::npos);
    EXPECT_TRUE(node->Sockets().empty());
}

TEST_F(NodeTest, EveryAddressOfANameIsTried) {
    // The peer listens on 127.0.0.1 only; where localhost is ::1 first, that is refused.
    Address address = peer.address();
    address.host = "localhost";
    Make(Options(address, 1));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(recorder.downs.empty());
}

TEST_F(NodeTest, TheBackoffBeginsAnewAfterReady) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    for (int i = 0; i < 8; i++) {
        const int64_t now_us = Now_us();
        node->Drop(0, {TroubleKind::kOther, "by hand"}, now_us);
        EXPECT_LE(node->Step(now_us), now_us + 62500);
        ASSERT_TRUE(loop->UntilAllReady());
    }
}

}  // namespace
}  // namespace inventory_lock::redis::test
