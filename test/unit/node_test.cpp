// A Node against an honest peer of our own: what the handshake says and may be denied, whom a lane
// kills before it is used, how time passes. node_hostile_test.cpp has the other peers.

#include "node_fixture.hpp"

namespace inventory_lock::redis::test {
namespace {

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
    EXPECT_EQ(Seen({"CLIENT", "KILL", "ID", std::to_string(old_id)}), 1);
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
    EXPECT_EQ(Seen(kill), 3);
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
    EXPECT_EQ(Seen({"CLIENT", "KILL", "ID", old_id}), 0);
    EXPECT_EQ(node->run_id(), "bbbbbbb");
}

TEST_F(NodeTest, AnEarlierWorkersConnectionsAreKilledByTheirLanes) {
    NodeOptions options = Options(peer.address(), 2);
    options.old_client_ids = {501, 0};
    Make(options);
    EXPECT_EQ(node->client_ids_to_kill(), (std::vector<int64_t>{501, 0}));
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(Seen(Peer::Argv{"CLIENT", "KILL", "ID", "501"}), 1);
}

TEST_F(NodeTest, AfterAChangeOfTheNumberOfLanesEveryLaneKillsThemAll) {
    NodeOptions options = Options(peer.address(), 2);
    options.old_client_ids = {501, 502, 503};
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    for (const char *id : {"501", "502", "503"}) {
        EXPECT_EQ(Seen(Peer::Argv{"CLIENT", "KILL", "ID", id}), 2);
    }
}

TEST_F(NodeTest, OldIdsOfAnotherServerProcessAreLeftAlone) {
    NodeOptions options = Options(peer.address(), 1);
    options.old_client_ids = {501};
    options.old_run_id = "another";
    Make(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(Seen({"CLIENT", "KILL", "ID", "501"}), 0);
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
        if (!BeginsWith(argv, denial.command)) {
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
    EXPECT_EQ(Seen({"CLIENT", "TRACKING", "ON", "REDIRECT", "2", "NOLOOP"}), 0);
}

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

// Time.

TEST_F(NodeTest, AnIdleSubscriberIsPingedAndMissedWhenItIsSilent) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    bool mute = false;
    peer.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        return mute && link.subscribed && argv[0] == "PING";
    };
    const auto pings = [&] { return Seen(Peer::Argv{"PING"}); };
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
    nowhere.server.host = "127.0.0.1";
    {
        Peer closed;
        nowhere.server.port = closed.address().server.port;
    }
    Make(Options(nowhere, 1));
    // Time is ours here: jump to each attempt. (In between the name is resolved again.)
    int64_t now_us = Now_us();
    int64_t down_us = 0;
    std::vector<int64_t> pauses;
    while (pauses.size() < 9) {
        const size_t before = recorder.downs.size();
        const int64_t next_us = node->Step(now_us);
        for (const Socket &socket : node->Sockets()) {
            pollfd event = {socket.fd, POLLOUT, 0};
            poll(&event, 1, 1000);
            node->OnSocket(socket.fd, true, true, now_us);
        }
        if (recorder.downs.size() == before) {
            ASSERT_GT(next_us, now_us);
            now_us = next_us;
            continue;
        }
        EXPECT_EQ(recorder.downs.back().kind, TroubleKind::kRefused);
        EXPECT_TRUE(node->Sockets().empty());
        if (down_us != 0) {
            pauses.push_back(now_us - down_us);
        }
        down_us = now_us;
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
    blackhole.server.host = "127.0.0.1";
    blackhole.server.port = peer.address().server.port;
    Make(Options(blackhole, 1));
    const int64_t now_us = Now_us();
    node->Step(now_us);
    ASSERT_EQ(node->status(0).state, LaneState::kConnecting);
    EXPECT_EQ(node->Step(now_us), now_us + 200000);
    node->Step(now_us + 200000);
    ASSERT_EQ(recorder.downs.size(), 1u);
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kUnreachable);
}

TEST_F(NodeTest, ANameThatDoesNotResolveIsTold) {
    Address nowhere;
    nowhere.server.host = "no-such-host.invalid";
    Make(Options(nowhere, 2));
    EXPECT_FALSE(node->resolved());
    EXPECT_GT(node->Step(Now_us()), Now_us());
    EXPECT_EQ(recorder.downs.size(), 2u);
    EXPECT_EQ(node->status(0).state, LaneState::kDown);
    EXPECT_EQ(node->status(1).last_trouble.kind, TroubleKind::kUnreachable);
    EXPECT_NE(node->status(0).last_trouble.text.find("resolved"), std::string::npos);
    EXPECT_TRUE(node->Sockets().empty());
}

TEST_F(NodeTest, ResolvingAgainKeepsALaneWhoseAddressStays) {
    Make(Options(peer.address(), 1));
    ASSERT_TRUE(loop->UntilAllReady());
    node->ResolveAgain(Now_us());
    node->Step(Now_us());
    EXPECT_EQ(node->state(0), LaneState::kReady);
    EXPECT_TRUE(recorder.downs.empty());
}

TEST_F(NodeTest, EveryAddressOfANameIsTried) {
    // The peer listens on 127.0.0.1 only; where localhost is ::1 first, that is refused.
    Address address = peer.address();
    address.server.host = "localhost";
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
