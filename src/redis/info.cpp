// Reader of INFO replies; see info.hpp. Runs in: the worker; pure C++.

#include "redis/info.hpp"

#include <algorithm>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr size_t kMaxValueBytes = 128;

}  // namespace

std::string_view InfoField(std::string_view info, std::string_view name) {
    while (!info.empty()) {
        const size_t end = std::min(info.find('\n'), info.size());
        std::string_view line = info.substr(0, end);
        info.remove_prefix(std::min(end + 1, info.size()));
        if (!line.empty() && line.back() == '\r') {
            line.remove_suffix(1);
        }
        if (line.size() <= name.size() || line.substr(0, name.size()) != name ||
            line[name.size()] != ':') {
            continue;
        }
        const std::string_view value = line.substr(name.size() + 1);
        const bool printable =
            std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
        return printable && value.size() <= kMaxValueBytes ? value : std::string_view();
    }
    return {};
}

std::string MaxmemoryPolicy(std::string_view info) {
    return std::string(InfoField(info, "maxmemory_policy"));
}

}  // namespace inventory_lock::redis
