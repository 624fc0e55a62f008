// Fuzzes the parser of inventory_lock.redis_url. Checked: no crash, and that whatever is accepted
// keeps what address.hpp promises.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "redis/address.hpp"

namespace {

using inventory_lock::redis::Address;
using inventory_lock::redis::AddressProblem;
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
    Require(!HasControl(address.host) && !HasControl(address.path) && !HasControl(address.user));
    Require(address.database <= 65535);
    Require(IsPrintable(address.Text()));
    if (address.transport == Transport::kTcp) {
        Require(!address.host.empty() && address.host.size() <= 255 && address.port != 0);
        Require(address.path.empty());
    } else {
        Require(!address.path.empty() && address.path.front() == '/' && address.path.size() < 108);
        Require(address.host.empty());
    }
    return 0;
}
