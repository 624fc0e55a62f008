// Builds Redis keys, byte for byte as the other services spell them, and checks them.
//
// Runs in: backends. A whole key has 1 to 255 bytes and no control characters; ids that start
// with "product:" and custom names that end in ":fence" are refused. All functions throw SqlError
// 22023 naming the argument, and never touch shared memory.

#pragma once

#include "pg/errors.hpp"

namespace inventory_lock::locking {

inline constexpr size_t kMaxKeyBytes = 255;
inline constexpr std::string_view kStockPrefix = "inventory_lock:";
inline constexpr std::string_view kOrderPrefix = "lock:order_creation_";
inline constexpr std::string_view kCustomPrefix = "lock:";

inline bool StartsWith(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

// inventory_lock:<variant_id>, or inventory_lock:<variant_id>@<location_id> with a location.
std::string StockKey(std::string_view variant_id, std::string_view location_id = {});

// inventory_lock:product:<product_id>
std::string ProductKey(std::string_view product_id);
// The same; empty for an id that no key can hold, whose product nobody can lock.
std::string ProductKeyIfAny(std::string_view product_id);

// lock:order_creation_<user_id>_<idempotency_key>
std::string OrderKey(std::string_view user_id, std::string_view idempotency_key);

// lock:<name>
std::string CustomKey(std::string_view name);

// Checks a whole key given by a user (assert_fence, force_release_lock).
void CheckWholeKey(std::string_view key);

}  // namespace inventory_lock::locking
