// A Node and a peer of our own in one loop: what the tests of the node share.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "support.hpp"

namespace inventory_lock::redis::test {

class NodeTest : public ::testing::Test {
  protected:
    static NodeOptions Options(const Address &address, int lanes) {
        NodeOptions options;
        options.address = address;
        options.lanes = lanes;
        options.command_timeout_us = 200000;
        options.connect_timeout_us = 200000;
        options.max_reply_bytes = 65536;
        options.scripts = {"return 1"};
        return options;
    }
    void Make(NodeOptions options) {
        node = std::make_unique<Node>(std::move(options), recorder);
        loop = std::make_unique<Loop>(*node);
        loop->Add(peer);
    }
    // How often the peer has got this command.
    int64_t Seen(const Peer::Argv &argv) const {
        return std::count(peer.seen.begin(), peer.seen.end(), argv);
    }

    Peer peer;
    Recorder recorder;
    std::unique_ptr<Node> node;
    std::unique_ptr<Loop> loop;
};

inline bool BeginsWith(const Peer::Argv &argv, const Peer::Argv &words) {
    return argv.size() >= words.size() && std::equal(words.begin(), words.end(), argv.begin());
}

inline std::string Repeat(std::string_view text, int times) {
    std::string whole;
    for (int i = 0; i < times; i++) {
        whole += text;
    }
    return whole;
}

}  // namespace inventory_lock::redis::test
