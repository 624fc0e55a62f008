// Replies as bytes → reader → accessors → answers, for honest and for hostile bytes.

#include "redis/reply.hpp"

#include <gtest/gtest.h>

#include "redis/lock_protocol.hpp"
#include "redis/reply_reader.hpp"

namespace inventory_lock::redis::test {
namespace {

constexpr size_t kMaxReply = 4096;

// The reply these bytes are; null when they are none, or not yet.
ReplyOwner Read(std::string_view bytes) {
    ReplyReader reader(kMaxReply);
    Trouble trouble;
    reader.Feed(bytes);
    return reader.Take(trouble);
}

TEST(Reply, NothingIsNeutral) {
    const ReplyView nothing;
    EXPECT_TRUE(nothing.IsNil());
    EXPECT_FALSE(nothing.IsError());
    EXPECT_FALSE(nothing.IsArray());
    EXPECT_EQ(nothing.Text(), "");
    EXPECT_FALSE(nothing.Integer());
    EXPECT_EQ(nothing.size(), 0u);
    EXPECT_TRUE(nothing[0][7][3].IsNil());
}

TEST(Reply, EveryTypeAnswersWhatItIs) {
    using std::string_view_literals::operator""sv;
    const ReplyOwner whole =
        Read("*7\r\n+OK\r\n-ERR x\r\n:-5\r\n$3\r\na\0b\r\n$-1\r\n*0\r\n*-1\r\n"sv);
    ASSERT_NE(whole, nullptr);
    const ReplyView view(whole.get());
    EXPECT_EQ(view.size(), 7u);
    EXPECT_EQ(view[0].Text(), "OK");
    EXPECT_TRUE(view[1].IsError());
    EXPECT_EQ(view[1].Text(), "ERR x");
    EXPECT_EQ(view[2].Integer(), -5);
    EXPECT_EQ(view[2].Text(), "");
    EXPECT_EQ(view[3].Text(), std::string_view("a\0b", 3));
    EXPECT_TRUE(view[4].IsNil());
    EXPECT_TRUE(view[5].IsArray());
    EXPECT_EQ(view[5].size(), 0u);
    EXPECT_TRUE(view[6].IsNil());
    EXPECT_TRUE(view[7].IsNil());
    EXPECT_TRUE(view[size_t(-1)].IsNil());
    EXPECT_EQ(view.Text(), "");
}

TEST(Reply, AnIntegerIsAnIntegerOrAllDigits) {
    const auto integer = [](std::string_view text) {
        const std::string bytes =
            "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
        const ReplyOwner owner = Read(bytes);
        return ReplyView(owner.get()).Integer();
    };
    EXPECT_EQ(integer("0"), 0);
    EXPECT_EQ(integer("9223372036854775807"), INT64_MAX);
    for (const char *text :
         {"", "-1", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "a"}) {
        EXPECT_FALSE(integer(text)) << text;
    }
    EXPECT_EQ(integer(std::string_view("1\0", 2)), std::nullopt);
    const ReplyOwner error = Read("-5\r\n");
    EXPECT_FALSE(ReplyView(error.get()).Integer());
}

struct Stream {
    const char *name;
    std::string bytes;
};

class HostileStream : public ::testing::TestWithParam<Stream> {};

TEST_P(HostileStream, IsAProtocolTroubleAndStaysOne) {
    ReplyReader reader(kMaxReply);
    Trouble trouble;
    reader.Feed(GetParam().bytes);
    while (reader.Take(trouble)) {
    }
    EXPECT_EQ(trouble.kind, TroubleKind::kProtocol);
    EXPECT_FALSE(trouble.text.empty());
    trouble = Trouble();
    reader.Feed("+OK\r\n");
    EXPECT_EQ(reader.Take(trouble), nullptr);
    EXPECT_EQ(trouble.kind, TroubleKind::kProtocol);
    reader.Reset();
    trouble = Trouble();
    reader.Feed("+OK\r\n");
    EXPECT_NE(reader.Take(trouble), nullptr);
    EXPECT_EQ(trouble.kind, TroubleKind::kNone);
}

std::string Repeat(const char *text, int times) {
    std::string whole;
    for (int i = 0; i < times; i++) {
        whole += text;
    }
    return whole;
}

INSTANTIATE_TEST_SUITE_P(
    Reply, HostileStream,
    ::testing::Values(
        Stream{"http", "HTTP/1.1 400 Bad Request\r\n\r\n"}, Stream{"tls", "\x15\x03\x01\x00\x02"},
        Stream{"resp3_push", ">2\r\n+a\r\n+b\r\n"}, Stream{"resp3_map", "%1\r\n+a\r\n+b\r\n"},
        Stream{"resp3_set", "~1\r\n+a\r\n"}, Stream{"resp3_attribute", "|1\r\n+a\r\n+b\r\n+c\r\n"},
        Stream{"resp3_null", "_\r\n"}, Stream{"resp3_boolean", "#t\r\n"},
        Stream{"resp3_double", ",1.5\r\n"},
        Stream{"resp3_big_number", "(123456789012345678901\r\n"},
        Stream{"resp3_verbatim", "=7\r\ntxt:abc\r\n"},
        Stream{"resp3_within", "*2\r\n+a\r\n*1\r\n#t\r\n"},
        Stream{"deep", Repeat("*1\r\n", 20) + ":1\r\n"}, Stream{"wide", "*1000000000\r\n"},
        Stream{"wider", "*9223372036854775807\r\n"},
        Stream{"wide_in_parts", "*3\r\n" + Repeat("*600\r\n", 3)},
        Stream{"just_too_wide", "*1366\r\n"}, Stream{"bad_integer", ":12a\r\n"},
        Stream{"bad_bulk_length", "$-2\r\n"}, Stream{"bad_array_length", "*-2\r\n"},
        Stream{"letters_for_length", "$abc\r\n"}, Stream{"empty_length", "*\r\n"},
        Stream{"long_line", "+" + std::string(kMaxReply + 1, 'x')},
        Stream{"long_bulk", "$1000000\r\n" + std::string(kMaxReply, 'x')},
        Stream{"endless_array", "*1000\r\n" + Repeat(":1234\r\n", 999)},
        Stream{"good_then_bad", "+OK\r\n+OK\r\n!\r\n"}),
    [](const auto &stream) { return stream.param.name; });

TEST(Reply, TheLimitIsForOneReplyAndNotForTheStream) {
    ReplyReader reader(kMaxReply);
    Trouble trouble;
    const std::string reply = "$2000\r\n" + std::string(2000, 'x') + "\r\n";
    for (int i = 0; i < 50; i++) {
        reader.Feed(reply + reply + reply);
        for (int j = 0; j < 3; j++) {
            ASSERT_NE(reader.Take(trouble), nullptr);
        }
        ASSERT_EQ(reader.Take(trouble), nullptr);
        ASSERT_EQ(trouble.kind, TroubleKind::kNone) << trouble.text;
    }
}

TEST(Reply, ArraysWithinTheBudgetPassAgainAndAgain) {
    ReplyReader reader(kMaxReply);
    Trouble trouble;
    for (int i = 0; i < 10; i++) {
        reader.Feed("*1000\r\n" + Repeat("+\r\n", 1000));
        const ReplyOwner reply = reader.Take(trouble);
        ASSERT_NE(reply, nullptr) << trouble.text;
        EXPECT_EQ(ReplyView(reply.get()).size(), 1000u);
    }
}

TEST(Reply, BytesMayComeOneByOne) {
    ReplyReader reader(kMaxReply);
    Trouble trouble;
    const std::string bytes = "*2\r\n$5\r\nhello\r\n:42\r\n";
    for (size_t i = 0; i + 1 < bytes.size(); i++) {
        reader.Feed(bytes.substr(i, 1));
        ASSERT_EQ(reader.Take(trouble), nullptr);
        ASSERT_EQ(trouble.kind, TroubleKind::kNone);
    }
    reader.Feed("\n");
    const ReplyOwner reply = reader.Take(trouble);
    EXPECT_EQ(ReplyView(reply.get())[0].Text(), "hello");
    EXPECT_EQ(ReplyView(reply.get())[1].Integer(), 42);
}

}  // namespace
}  // namespace inventory_lock::redis::test
