// A Node whose primary Sentinel names: found, followed, and what happens when nobody can say.

#include <utility>
#include <vector>

#include "node_fixture.hpp"

namespace inventory_lock::redis::test {
namespace {

std::string Bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

std::string Named(const HostPort &server) {
    return "*2\r\n" + Bulk(server.host) + Bulk(std::to_string(server.port));
}

// `peer` and `other` are Redis servers, `first` and `second` Sentinels.
class SentinelTest : public NodeTest {
  protected:
    SentinelTest() {
        address.transport = Transport::kSentinel;
        address.primary = "shop";
        address.sentinels = {first.address().server, second.address().server};
        Says(first, Named(peer.address().server));
        Says(second, Named(peer.address().server));
    }
    // From now on the Sentinel answers so to the question where the primary is; "" = not at all.
    void Says(Peer &sentinel, std::string bytes) {
        sentinel.answer = [bytes = std::move(bytes)](Peer::Link &link, const Peer::Argv &argv) {
            if (argv[0] == "SENTINEL") {
                link.output += bytes;
            }
            return argv[0] == "SENTINEL";
        };
    }
    void Begin() { Begin(Options(address, 2)); }
    void Begin(NodeOptions options) {
        Make(std::move(options));
        for (Peer *participant : {&other, &first, &second}) {
            loop->Add(*participant);
        }
    }
    bool Served(const Peer &by) const {
        return node->where() == by.address().Text() && node->state(0) == LaneState::kReady &&
               node->state(1) == LaneState::kReady;
    }
    static int64_t Asked(const Peer &sentinel) {
        return std::count(sentinel.seen.begin(), sentinel.seen.end(),
                          Peer::Argv{"SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"});
    }

    Address address;
    Peer other;
    Peer first;
    Peer second;
};

TEST_F(SentinelTest, ThePrimaryIsTheOneThatIsNamed) {
    Begin();
    EXPECT_EQ(node->where(), address.Text());
    EXPECT_FALSE(node->resolved());
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(node->where(), peer.address().Text());
    EXPECT_TRUE(recorder.downs.empty());
    EXPECT_EQ(Asked(first), 1);
    EXPECT_EQ(second.accepted(), 0);
    node->ResolveAgain(Now_us());
    EXPECT_EQ(node->state(0), LaneState::kReady);
}

TEST_F(SentinelTest, AFailoverIsFollowedAlsoWhileTheOldPrimaryAnswers) {
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    Says(first, Named(other.address().server));
    ASSERT_TRUE(loop->Until([&] { return Served(other); }, "the lanes lead to the new primary"));
    ASSERT_EQ(recorder.downs.size(), 2u);
    EXPECT_NE(recorder.downs[0].text.find("another primary"), std::string::npos);
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kNone);  // of the old one's lanes: no failure
}

TEST_F(SentinelTest, OneThatCannotSayMakesWayForTheNext) {
    for (const std::string &answer :
         {std::string("*-1\r\n"), std::string("$-1\r\n"), std::string("-IDONTKNOW no\r\n"),
          std::string("*1\r\n$1\r\na\r\n"), "*2\r\n" + Bulk("") + Bulk("1"),
          "*2\r\n" + Bulk("a\nb") + Bulk("1"), "*2\r\n" + Bulk("127.0.0.1") + Bulk("0"),
          "*2\r\n" + Bulk("127.0.0.1") + Bulk("65536"), "*2\r\n" + Bulk("127.0.0.1") + Bulk("1x"),
          "*2\r\n" + Bulk(std::string(256, 'h')) + Bulk("1"), std::string("!nonsense\r\n"),
          "$100000\r\n" + std::string(50000, 'x'), std::string()}) {
        Says(first, answer);
        Begin();
        EXPECT_TRUE(loop->UntilAllReady()) << answer.substr(0, 40);
        EXPECT_EQ(Asked(second), 1) << answer.substr(0, 40);
        second.seen.clear();
    }
}

TEST_F(SentinelTest, OneThatIsNotThereOrClosesMakesWayForTheNext) {
    {
        const Peer closed;
        address.sentinels[0] = closed.address().server;
    }
    address.sentinels.insert(address.sentinels.begin(), HostPort{"no-such-host.invalid", 1});
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    address.sentinels[0] = first.address().server;
    first.answer = [](Peer::Link &link, const Peer::Argv &) {
        return link.close_after_output = true;
    };
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
}

TEST_F(SentinelTest, EveryAddressOfANameIsTried) {
    // They listen on 127.0.0.1 only; where localhost is ::1 first, that is refused.
    address.sentinels = {{"localhost", first.address().server.port}};
    Says(first, Named({"localhost", peer.address().server.port}));
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
}

TEST_F(SentinelTest, OneWhosePrimaryDoesNotServeMakesWayForTheNext) {
    {
        const Peer closed;
        Says(first, Named(closed.address().server));
    }
    Begin();
    ASSERT_TRUE(loop->Until([&] { return Served(peer); }, "the other Sentinel's primary is used"));
}

TEST_F(SentinelTest, OneThatNamesAReplicaMakesWayForTheNext) {
    peer.answer = [](Peer::Link &link, const Peer::Argv &argv) {
        if (argv == Peer::Argv{"INFO", "replication"}) {
            link.output += Bulk("# Replication\r\nrole:slave\r\n");
            return true;
        }
        return false;
    };
    Says(second, Named(other.address().server));
    Begin();
    ASSERT_TRUE(loop->Until([&] { return Served(other); }, "the other Sentinel's primary is used"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kReadOnly);
}

TEST_F(SentinelTest, OneWhosePrimaryRefusesMakesWayForTheNext) {
    Says(second, Named(other.address().server));
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_TRUE(Served(peer));
    node->NoteRefusal(true);
    ASSERT_TRUE(loop->Until([&] { return Served(other); }, "the other Sentinel's primary is used"));
    node->NoteRefusal(false);
}

TEST_F(SentinelTest, ANameThatDoesNotResolveIsNotAReasonToStay) {
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    for (Peer *sentinel : {&first, &second}) {
        Says(*sentinel, Named({"no-such-host.invalid", 1}));
    }
    ASSERT_TRUE(loop->Until([&] { return recorder.downs.size() >= 2; }, "the old primary is left"));
    ASSERT_TRUE(loop->Until(
        [&] { return recorder.downs.back().text.find("resolved") != std::string::npos; },
        "the trouble is told"));
    EXPECT_EQ(node->where(), "no-such-host.invalid:1/0");
    Says(first, Named(peer.address().server));
    Says(second, Named(peer.address().server));
    ASSERT_TRUE(loop->Until([&] { return Served(peer); }, "and one that resolves is used"));
}

TEST_F(SentinelTest, WhoAnswersAndClosesIsNotAskedWithoutEnd) {
    for (Peer *sentinel : {&first, &second}) {
        sentinel->answer = [this](Peer::Link &link, const Peer::Argv &) {
            link.output += Named(peer.address().server);
            return link.close_after_output = true;
        };
    }
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    const int64_t until_us = Now_us() + 200000;
    ASSERT_TRUE(loop->Until([&] { return Now_us() > until_us; }, "some time has passed"));
    EXPECT_LE(first.accepted() + second.accepted(), 15);
}

TEST_F(SentinelTest, ThePasswordIsGivenToOneThatAsksForIt) {
    bool known = false;
    first.answer = [&](Peer::Link &link, const Peer::Argv &argv) {
        if (argv[0] == "AUTH") {
            known = argv == Peer::Argv{"AUTH", "s3cret"};
            return false;
        }
        link.output +=
            known ? Named(peer.address().server) : "-NOAUTH Authentication required.\r\n";
        return true;
    };
    NodeOptions options = Options(address, 2);
    options.password = "s3cret";
    Begin(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(second.accepted(), 0);

    Says(first, Named(peer.address().server));
    first.seen.clear();
    Begin(options);
    ASSERT_TRUE(loop->UntilAllReady());
    EXPECT_EQ(std::count_if(first.seen.begin(), first.seen.end(),
                            [](const Peer::Argv &argv) { return argv[0] == "AUTH"; }),
              0);
}

TEST_F(SentinelTest, ARefusedPasswordIsToldAndNotRepeated) {
    for (Peer *sentinel : {&first, &second}) {
        sentinel->answer = [](Peer::Link &link, const Peer::Argv &argv) {
            link.output += argv[0] == "AUTH" ? "-WRONGPASS s3cret is wrong\r\n"
                                             : "-NOAUTH Authentication required.\r\n";
            return true;
        };
    }
    NodeOptions options = Options(address, 1);
    options.password = "s3cret";
    Begin(options);
    ASSERT_TRUE(loop->Until([&] { return !recorder.downs.empty(); }, "the trouble is told"));
    EXPECT_EQ(recorder.downs[0].kind, TroubleKind::kAuth);
    EXPECT_EQ(recorder.downs[0].text.find("s3cret"), std::string::npos);
}

TEST_F(SentinelTest, NobodyIsAskedWithoutEndWhenNobodyKnows) {
    Says(first, "*-1\r\n");
    Says(second, "*-1\r\n");
    Begin();
    ASSERT_TRUE(loop->Until([&] { return recorder.downs.size() >= 4; }, "the trouble is told"));
    EXPECT_NE(recorder.downs.back().text.find("does not know the primary"), std::string::npos);
    EXPECT_LE(Asked(first), 2);
    Says(second, Named(peer.address().server));
    ASSERT_TRUE(loop->UntilAllReady());
}

TEST_F(SentinelTest, WhatIsKnownStaysInUseWhenEverySentinelHasGone) {
    Begin();
    ASSERT_TRUE(loop->UntilAllReady());
    for (Peer *sentinel : {&first, &second}) {
        sentinel->answer = [](Peer::Link &link, const Peer::Argv &) {
            return link.close_after_output = true;
        };
    }
    ASSERT_TRUE(loop->Until([&] { return recorder.no_sentinel > 0; }, "their absence is told"));
    EXPECT_TRUE(Served(peer));
    EXPECT_TRUE(recorder.downs.empty());
    Says(second, Named(other.address().server));
    ASSERT_TRUE(loop->Until([&] { return Served(other); }, "one that is back is heard"));
}

}  // namespace
}  // namespace inventory_lock::redis::test
