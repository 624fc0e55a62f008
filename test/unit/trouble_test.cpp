// Classification of error replies, INFO fields and the hash: the small pure parts.

#include "redis/trouble.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "redis/info.hpp"
#include "redis/sha1.hpp"

namespace inventory_lock::redis::test {
namespace {

struct Case {
    const char *text;
    TroubleKind kind;
};

class ErrorReply : public ::testing::TestWithParam<Case> {};

TEST_P(ErrorReply, IsSorted) {
    EXPECT_EQ(ClassifyErrorReply(GetParam().text), GetParam().kind) << GetParam().text;
    EXPECT_EQ(TroubleOfReply(GetParam().text).kind, GetParam().kind);
}

// Texts as Redis 6.2 and 7.0 send them.
INSTANTIATE_TEST_SUITE_P(
    Trouble, ErrorReply,
    ::testing::Values(
        Case{"NOAUTH Authentication required.", TroubleKind::kAuth},
        Case{"WRONGPASS invalid username-password pair or user is disabled.", TroubleKind::kAuth},
        Case{"ERR invalid password", TroubleKind::kAuth},
        Case{"ERR Client sent AUTH, but no password is set", TroubleKind::kAuth},
        Case{"ERR AUTH <password> called without any password configured for the default user. Are "
             "you sure your configuration is correct?",
             TroubleKind::kAuth},
        Case{"DENIED Redis is running in protected mode because …", TroubleKind::kAuth},
        Case{"NOPERM this user has no permissions to run the 'del' command",
             TroubleKind::kPermission},
        Case{"ERR The user executing the script can't run this command or subcommand script: "
             "b2918f, "
             "on @user_script:1.",
             TroubleKind::kPermission},
        Case{"LOADING Redis is loading the dataset in memory", TroubleKind::kLoading},
        Case{"READONLY You can't write against a read only replica. script: 1, on @user_script:1.",
             TroubleKind::kReadOnly},
        Case{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
             TroubleKind::kReadOnly},
        Case{"OOM command not allowed when used memory > 'maxmemory'.", TroubleKind::kOutOfMemory},
        Case{
            "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command "
            "not allowed when used memory > 'maxmemory'.",
            TroubleKind::kOutOfMemory},
        Case{"ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write",
             TroubleKind::kReadOnly},
        Case{"ERR Error running script (call to f_1): @user_script:1: 5 -3 nonsense",
             TroubleKind::kOther},
        Case{"MISCONF Redis is configured to save RDB snapshots, but …", TroubleKind::kMisconf},
        Case{"BUSY Redis is busy running a script. You can only call SCRIPT KILL",
             TroubleKind::kBusy},
        Case{"UNKILLABLE Sorry the script already executed write commands", TroubleKind::kBusy},
        Case{"NOREPLICAS Not enough good replicas to write.", TroubleKind::kMisconf},
        Case{"MOVED 3999 127.0.0.1:6381", TroubleKind::kMoved},
        Case{"ASK 3999 127.0.0.1:6381", TroubleKind::kMoved},
        Case{"CLUSTERDOWN The cluster is down", TroubleKind::kMoved},
        Case{"CROSSSLOT Keys in request don't hash to the same slot", TroubleKind::kMoved},
        Case{"TRYAGAIN Multiple keys request during rehashing of slot", TroubleKind::kMoved},
        Case{"ERR max number of clients reached", TroubleKind::kClosed},
        Case{"ERR unknown command 'foo', with args beginning with: 'OOM' ", TroubleKind::kOther},
        Case{"ERR DB index is out of range", TroubleKind::kOther},
        Case{"NOSCRIPT No matching script.", TroubleKind::kOther},
        Case{"oom lower case", TroubleKind::kOther}, Case{"OOMPH", TroubleKind::kOther},
        Case{"", TroubleKind::kOther}, Case{" OOM", TroubleKind::kOther}));

TEST(Trouble, EveryKindHasItsOwnName) {
    std::set<std::string> names;
    for (int kind = 0; kind <= static_cast<int>(TroubleKind::kOther); kind++) {
        names.insert(TroubleName(static_cast<TroubleKind>(kind)));
    }
    EXPECT_EQ(names.size(), static_cast<size_t>(TroubleKind::kOther) + 1);
}

TEST(Trouble, HintsAreSentences) {
    for (int kind = 1; kind < static_cast<int>(TroubleKind::kOther); kind++) {
        const std::string hint = TroubleHint(static_cast<TroubleKind>(kind));
        ASSERT_FALSE(hint.empty()) << kind;
        EXPECT_EQ(hint.back(), '.') << hint;
    }
    EXPECT_STREQ(TroubleHint(TroubleKind::kNone), "");
    EXPECT_STREQ(TroubleHint(TroubleKind::kOther), "");
}

TEST(Trouble, TextIsPrintableAndBounded) {
    const std::string raw = std::string("a\0b\n\x1b[31m\xff", 10) + std::string(5000, 'x');
    const std::string text = Printable(raw);
    EXPECT_EQ(text.size(), kMaxTroubleBytes);
    EXPECT_EQ(text.substr(0, 10), "a?b??[31m?");
    EXPECT_EQ(TroubleOfReply(raw).text, text);
}

TEST(Info, FindsAFieldByItsWholeName) {
    const std::string info =
        "# Memory\r\nused_maxmemory_policy:no\r\nmaxmemory_policy_x:no\r\nmaxmemory_policy:"
        "allkeys-lru\r\nlast:1";
    EXPECT_EQ(MaxmemoryPolicy(info), "allkeys-lru");
    EXPECT_EQ(InfoField(info, "last"), "1");
    EXPECT_EQ(InfoField(info, "none"), "");
    EXPECT_EQ(InfoField("", "x"), "");
    EXPECT_EQ(InfoField("\n\n\r\nx:", "x"), "");
    EXPECT_EQ(InfoField("x", "x"), "");
    EXPECT_EQ(InfoField("x:1\nx:2\n", "x"), "1");
}

TEST(Info, TakesNothingUnprintableOrEndless) {
    EXPECT_EQ(InfoField("x:a\x01z\r\n", "x"), "");
    EXPECT_EQ(InfoField("x:a\xffz\r\n", "x"), "");
    EXPECT_EQ(InfoField("x:" + std::string(128, 'a'), "x"), std::string(128, 'a'));
    EXPECT_EQ(InfoField("x:" + std::string(129, 'a'), "x"), "");
}

// The examples of FIPS 180, and the lengths at which the padding takes another block.
TEST(Sha1, AgreesWithTheStandard) {
    const auto hex = [](std::string_view text) {
        const auto digits = Sha1Hex(text);
        return std::string(digits.data(), digits.size());
    };
    EXPECT_EQ(hex(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    EXPECT_EQ(hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    EXPECT_EQ(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    EXPECT_EQ(hex(std::string(1000000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    EXPECT_EQ(hex(std::string(55, 'a')), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    EXPECT_EQ(hex(std::string(56, 'a')), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    EXPECT_EQ(hex(std::string(64, 'a')), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
}

}  // namespace
}  // namespace inventory_lock::redis::test
