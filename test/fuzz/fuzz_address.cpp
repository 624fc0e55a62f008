// Fuzzes the parser of inventory_lock.redis_url. Checked: no crash, and that whatever is accepted
// keeps what address.hpp promises.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "redis/address.hpp"

namespace {

using inventory_lock::redis::Address;
using inventory_lock::redis::AddressProblem;
using inventory_lock::redis::HostPort;
using inventory_lock::redis::kMaxSentinels;
using inventory_lock::redis::ParseAddress;
using inventory_lock::redis::Transport;

void Require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

bool HasControl(std::string_view text) {
    for (const char c : text) {
        const unsigned char byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F) {
            return true;
        }
    }
    return false;
}

bool IsPrintable(std::string_view text) {
    for (const char c : text) {
        if (c <= 0x20 || c >= 0x7F) {
            return false;
        }
    }
    return true;
}

void RequireServer(const HostPort &server) {
    Require(!server.host.empty() && server.host.size() <= 255 && server.port != 0);
    Require(!HasControl(server.host));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const std::string_view url(reinterpret_cast<const char *>(data), size);
    const auto result = ParseAddress(url);
    if (const auto *problem = std::get_if<AddressProblem>(&result)) {
        Require(!problem->message.empty() && problem->message.back() == '.');
        Require(problem->message.size() < 200 && problem->hint.size() < 200);
        return 0;
    }
    const Address &address = std::get<Address>(result);
    Require(!HasControl(address.server.host) && !HasControl(address.path));
    Require(!HasControl(address.user) && !HasControl(address.primary));
    Require(address.database <= 65535);
    Require(IsPrintable(address.Text()));
    if (address.transport == Transport::kTcp) {
        RequireServer(address.server);
        Require(address.path.empty() && address.sentinels.empty());
    } else if (address.transport == Transport::kSentinel) {
        Require(!address.sentinels.empty() && address.sentinels.size() <= kMaxSentinels);
        std::for_each(address.sentinels.begin(), address.sentinels.end(), RequireServer);
        Require(!address.primary.empty() && address.primary.size() <= 255);
        Require(address.server.host.empty() && address.path.empty());
    } else {
        Require(!address.path.empty() && address.path.front() == '/' && address.path.size() < 108);
        Require(address.server.host.empty() && address.sentinels.empty());
    }
    return 0;
}
