// A Node against peers that lie, shout, stall and hang up: whatever they do costs one lane, which
// then comes back, and nothing else.

#include "node_fixture.hpp"

namespace inventory_lock::redis::test {
namespace {

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
        if (link.number >= kVictims || !BeginsWith(argv, assault.command)) {
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
        Assault{"a_later_error_is_the_secret",
                {"SELECT"},
                "-ERR no s3cret here\r\n",
                false,
                TroubleKind::kOther},
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

}  // namespace
}  // namespace inventory_lock::redis::test
