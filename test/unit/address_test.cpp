// The URL parser: what it accepts, what it refuses, and that it never repeats a secret.

#include "redis/address.hpp"

#include <gtest/gtest.h>

namespace inventory_lock::redis::test {
namespace {

struct Good {
    const char *url;
    const char *text;
    const char *user;
};

class GoodUrl : public ::testing::TestWithParam<Good> {};

TEST_P(GoodUrl, IsAccepted) {
    const auto result = ParseAddress(GetParam().url);
    const auto *problem = std::get_if<AddressProblem>(&result);
    ASSERT_EQ(problem, nullptr) << problem->message;
    const Address &address = std::get<Address>(result);
    EXPECT_EQ(address.Text(), GetParam().text);
    EXPECT_EQ(address.user, GetParam().user);
}

INSTANTIATE_TEST_SUITE_P(
    Address, GoodUrl,
    ::testing::Values(
        Good{"redis://localhost", "localhost:6379/0", ""},
        Good{"redis://localhost/", "localhost:6379/0", ""},
        Good{"redis://localhost:6380/7", "localhost:6380/7", ""},
        Good{"redis://127.0.0.1:1", "127.0.0.1:1/0", ""},
        Good{"redis://h:65535/65535", "h:65535/65535", ""},
        Good{"redis://shop@redis.example.com/2", "redis.example.com:6379/2", "shop"},
        Good{"redis://a%40b%3Ac@h", "h:6379/0", "a@b:c"}, Good{"redis://%68ost", "host:6379/0", ""},
        Good{"redis://h%c3%a9", "h%C3%A9:6379/0", ""}, Good{"redis://[::1]", "[::1]:6379/0", ""},
        Good{"redis://u@[fe80::1%25eth0]:7000/1", "[fe80::1%eth0]:7000/1", "u"},
        Good{"redis://[::ffff:10.0.0.1]:7000", "[::ffff:10.0.0.1]:7000/0", ""},
        Good{"redis+sentinel://a/shop", "sentinel:a:26379/shop/0", ""},
        Good{"redis+sentinel://u@a:1,b,[::1]:3/a%2fb/7", "sentinel:a:1,b:26379,[::1]:3/a/b/7", "u"},
        Good{"redis+sentinel://a/s%20p/", "sentinel:a:26379/s%20p/0", ""},
        Good{"unix:///run/redis.sock", "unix:/run/redis.sock?db=0", ""},
        Good{"unix:///run/redis.sock?db=3", "unix:/run/redis.sock?db=3", ""},
        Good{"unix:///r?user=shop&db=3", "unix:/r?db=3", "shop"},
        Good{"unix:///r?db=3&user=a%26b", "unix:/r?db=3", "a&b"},
        Good{"unix:///with%20space%3f", "unix:/with%20space??db=0", ""}));

struct Bad {
    const char *url;
    const char *message;  // a part of it
};

class BadUrl : public ::testing::TestWithParam<Bad> {};

TEST_P(BadUrl, IsRefusedWithASentenceAndAHint) {
    const auto result = ParseAddress(GetParam().url);
    const auto *problem = std::get_if<AddressProblem>(&result);
    ASSERT_NE(problem, nullptr) << std::get<Address>(result).Text();
    EXPECT_NE(problem->message.find(GetParam().message), std::string::npos) << problem->message;
    EXPECT_EQ(problem->message.back(), '.');
    EXPECT_EQ(problem->hint.back(), '.');
    EXPECT_FALSE(problem->feature_missing);
}

INSTANTIATE_TEST_SUITE_P(
    Address, BadUrl,
    ::testing::Values(
        Bad{"localhost", "no known scheme"}, Bad{"http://localhost", "no known scheme"},
        Bad{"redis:", "no known scheme"}, Bad{"REDIS://h", "no known scheme"},
        Bad{"redis://", "host is missing"}, Bad{"redis:///0", "host is missing"},
        Bad{"redis://:6379", "host is missing"}, Bad{"redis://u@", "host is missing"},
        Bad{"redis://[]", "host is missing"}, Bad{"redis://@h", "user name"},
        Bad{"redis://h:0", "port"}, Bad{"redis://h:65536", "port"}, Bad{"redis://h:", "port"},
        Bad{"redis://h:6379x", "port"}, Bad{"redis://h:-1", "port"}, Bad{"redis://h:+1", "port"},
        Bad{"redis://h:99999999999999999999", "port"}, Bad{"redis://h/65536", "database"},
        Bad{"redis://h/-1", "database"}, Bad{"redis://h/0/1", "database"},
        Bad{"redis+sentinel://a", "name of the primary"},
        Bad{"redis+sentinel://a/", "name of the primary"},
        Bad{"redis+sentinel://a//0", "name of the primary"},
        Bad{"redis+sentinel:///shop", "host is missing"},
        Bad{"redis+sentinel://a,/shop", "host is missing"},
        Bad{"redis+sentinel://,a/shop", "host is missing"},
        Bad{"redis+sentinel://a/shop/x", "database"}, Bad{"redis+sentinel://a:0/shop", "port"},
        Bad{"redis+sentinel://a/shop?db=1", "parameters"},
        Bad{"redis+sentinel://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a/shop", "too many"},
        Bad{"redis://h/x", "database"}, Bad{"redis://::1", "more than one colon"},
        Bad{"redis://[::1", "not closed"}, Bad{"redis://[::1]x", "Only a port"},
        Bad{"redis://[localhost]", "no IPv6 address"}, Bad{"redis://[::1]:x", "port"},
        Bad{"redis://%3a%3a1", "must stand in brackets"}, Bad{"redis://a%2fb", "character"},
        Bad{"redis://a%40b", "character"}, Bad{"redis://a%20b", "character"},
        Bad{"redis://h?db=1", "no parameters"}, Bad{"redis://h#x", "no parameters"},
        Bad{"redis://h%", "hexadecimal"}, Bad{"redis://h%4", "hexadecimal"},
        Bad{"redis://h%zz", "hexadecimal"}, Bad{"redis://h%-1", "hexadecimal"},
        Bad{"redis://%00h", "escaped control"}, Bad{"redis://u%0a@h", "escaped control"},
        Bad{"redis://h%7f", "escaped control"}, Bad{"redis://h h", "space or a control"},
        Bad{"redis://h\n", "space or a control"}, Bad{"redis://h\x7f", "space or a control"},
        Bad{"unix://run/redis.sock", "absolute path"}, Bad{"unix://", "absolute path"},
        Bad{"unix:///", "absolute path"}, Bad{"unix:///r#x", "fragment"},
        Bad{"unix:///r?", "unknown parameter"}, Bad{"unix:///r?db", "database"},
        Bad{"unix:///r?db=", "database"}, Bad{"unix:///r?db=1&", "unknown parameter"},
        Bad{"unix:///r?user=", "user"}, Bad{"unix:///r?timeout=1", "\"timeout\""},
        Bad{"unix:///r?%70=1", "an unknown parameter"}, Bad{"unix:///r%00", "escaped control"}));

TEST(Address, RefusesAPasswordAndDoesNotRepeatIt) {
    for (const char *url :
         {"redis://user:s3cret@host", "redis://:s3cret@host", "redis://u:s3cret@@h",
          "unix:///r?password=s3cret", "unix:///r?db=1&pass=s3cret", "unix:///r?auth=s3cret",
          "redis://u:s3cret/x@host", "redis://u:s3cret?x@host", "redis://u:s3cret%zz@host",
          "s3cret", "redis://s3cret:x", "unix:///r?s3cret=1", "unix:///r?s3cret"}) {
        const auto result = ParseAddress(url);
        const auto *problem = std::get_if<AddressProblem>(&result);
        ASSERT_NE(problem, nullptr) << url;
        EXPECT_EQ(problem->message.find("s3cret"), std::string::npos) << problem->message;
        EXPECT_EQ(problem->hint.find("s3cret"), std::string::npos) << problem->hint;
    }
    const auto result = ParseAddress("redis://user:s3cret@host");
    EXPECT_NE(std::get<AddressProblem>(result).hint.find("redis_password_file"), std::string::npos);
}

TEST(Address, TellsASchemeThatIsNotBuiltFromOneThatIsUnknown) {
    for (const char *url : {"rediss://h:6379/0", "redis+cluster://a,b,c", "redis+quorum://a,b,c"}) {
        const auto result = ParseAddress(url);
        const auto *problem = std::get_if<AddressProblem>(&result);
        ASSERT_NE(problem, nullptr) << url;
        EXPECT_TRUE(problem->feature_missing) << url;
    }
}

TEST(Address, NoSentinelWhereAReplicaIsWanted) {
    const auto result = ParseAddress("redis+sentinel://a/shop", false);
    ASSERT_NE(std::get_if<AddressProblem>(&result), nullptr);
    EXPECT_NE(std::get<AddressProblem>(result).message.find("replica"), std::string::npos);
}

TEST(Address, BoundsEveryLength) {
    EXPECT_EQ(ParseAddress("redis://" + std::string(255, 'h')).index(), 0u);
    EXPECT_EQ(ParseAddress("redis://" + std::string(256, 'h')).index(), 1u);
    EXPECT_EQ(ParseAddress("unix:///" + std::string(106, 'p')).index(), 0u);
    EXPECT_EQ(ParseAddress("unix:///" + std::string(107, 'p')).index(), 1u);
    const std::string base = "redis://@h";
    EXPECT_EQ(
        ParseAddress("redis://" + std::string(kMaxUrlBytes - base.size(), 'u') + "@h").index(), 0u);
    EXPECT_EQ(
        ParseAddress("redis://" + std::string(kMaxUrlBytes - base.size() + 1, 'u') + "@h").index(),
        1u);
}

}  // namespace
}  // namespace inventory_lock::redis::test
