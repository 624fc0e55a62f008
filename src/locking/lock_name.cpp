// Builds and checks Redis keys; see lock_name.hpp. Runs in: backends.

#include "locking/lock_name.hpp"

namespace inventory_lock::locking {

namespace {

constexpr std::string_view kProductPrefix = "product:";
constexpr std::string_view kFenceSuffix = ":fence";

[[noreturn]] void Refuse(const char *what, const char *why, std::string hint = {}) {
    throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, std::string(what) + " " + why, {},
                       std::move(hint));
}

bool HasControlCharacter(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7F;
    });
}

// Non-empty and without control characters.
void CheckPart(std::string_view part, const char *what) {
    if (part.empty()) {
        Refuse(what, "must not be empty");
    }
    if (HasControlCharacter(part)) {
        Refuse(what, "must not contain control characters");
    }
}

std::string CheckLength(std::string key, const char *what) {
    if (key.size() > kMaxKeyBytes) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, std::string(what) + " is too long",
                           "The lock's key would have " + std::to_string(key.size()) +
                               " bytes; at most " + std::to_string(kMaxKeyBytes) +
                               " are possible.");
    }
    return key;
}

bool EndsWith(std::string_view text, std::string_view suffix) {
    return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

}  // namespace

std::string StockKey(std::string_view variant_id, std::string_view location_id) {
    CheckPart(variant_id, "variant_id");
    if (StartsWith(variant_id, kProductPrefix)) {
        Refuse("variant_id", "must not start with \"product:\"",
               "Keys of that form belong to the locks of whole products.");
    }
    std::string key(kStockPrefix);
    key.append(variant_id);
    if (!location_id.empty()) {
        CheckPart(location_id, "location_id");
        key.append("@").append(location_id);
    }
    return CheckLength(std::move(key), "variant_id");
}

std::string ProductKey(std::string_view product_id) {
    CheckPart(product_id, "product_id");
    std::string key(kStockPrefix);
    key.append(kProductPrefix).append(product_id);
    return CheckLength(std::move(key), "product_id");
}

std::string ProductKeyIfAny(std::string_view product_id) {
    const bool possible =
        !product_id.empty() && !HasControlCharacter(product_id) &&
        kStockPrefix.size() + kProductPrefix.size() + product_id.size() <= kMaxKeyBytes;
    return possible ? ProductKey(product_id) : std::string();
}

std::string OrderKey(std::string_view user_id, std::string_view idempotency_key) {
    CheckPart(user_id, "user_id");
    CheckPart(idempotency_key, "idempotency_key");
    std::string key(kOrderPrefix);
    key.append(user_id).append("_").append(idempotency_key);
    return CheckLength(std::move(key), "idempotency_key");
}

std::string CustomKey(std::string_view name) {
    CheckPart(name, "name");
    if (EndsWith(name, kFenceSuffix)) {
        Refuse("name", "must not end in \":fence\"");
    }
    std::string key(kCustomPrefix);
    key.append(name);
    return CheckLength(std::move(key), "name");
}

void CheckWholeKey(std::string_view key) {
    CheckPart(key, "key");
    CheckLength(std::string(key), "key");
}

}  // namespace inventory_lock::locking
