// Reads orders from JSON: see order_request.hpp.

#include "commerce/order_request.hpp"

#include "locking/lock_name.hpp"

extern "C" {
#include <common/cryptohash.h>
#include <common/sha2.h>
#include <utils/numeric.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kFingerprintVersion = "1:";

[[noreturn]] void WrongShape(const std::string &path, const std::string &expected,
                             const Json *found) {
    throw pg::SqlError(
        ERRCODE_INVALID_PARAMETER_VALUE, path + " must be " + expected,
        found != nullptr ? "It is " + std::string(KindName(found->kind)) + "." : "It is missing.");
}

// A whole number between the limits of bigint; nullopt when the JSON number is none.
std::optional<int64> WholeNumber(const Json &number) {
    __int128 value = 0;
    size_t i = number.normal[0] == '-' ? 1 : 0;
    const bool negative = i == 1;
    for (; i < number.normal.size(); i++) {
        const char c = number.normal[i];
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        value = value * 10 + (c - '0');
        if (value > static_cast<__int128>(std::numeric_limits<int64>::max())) {
            return std::nullopt;
        }
    }
    return static_cast<int64>(negative ? -value : value);
}

std::string ReadWord(const Json &options, const char *name,
                     std::initializer_list<std::string_view> words) {
    const Json *const member = options.Find(name);
    if (member == nullptr) {
        return std::string(*words.begin());
    }
    std::string list;
    for (const std::string_view word : words) {
        if (member->kind == Json::Kind::kString && member->text == word) {
            return std::string(word);
        }
        list += (list.empty() ? "\"" : " or \"") + std::string(word) + "\"";
    }
    throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                       "options." + std::string(name) + " must be " + list);
}

std::optional<std::string> ReadOptionalString(const Json &object, const char *name,
                                              const std::string &path) {
    const Json *const member = object.Find(name);
    if (member == nullptr) {
        return std::nullopt;
    }
    if (member->kind != Json::Kind::kString) {
        WrongShape(path + "." + name, "a string", member);
    }
    return member->text;
}

// Of these every line, or every level, looks at each: a request must not keep its locks for
// minutes.
constexpr size_t kMostLocations = 1000;
constexpr size_t kMostSelectors = 10000;

void RequireAtMost(size_t most, const Json &array, const char *path) {
    if (array.items.size() > most) {
        throw pg::SqlError(ERRCODE_PROGRAM_LIMIT_EXCEEDED, std::string(path) + " has more than " +
                                                               std::to_string(most) + " elements");
    }
}

std::vector<std::string> ReadLocations(const Json &options) {
    constexpr const char *kPath = "options.locations";
    std::vector<std::string> locations;
    const Json *const list = options.Find("locations");
    if (list == nullptr) {
        return locations;
    }
    if (CheckArray(*list, kPath).items.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           std::string(kPath) + " must not be empty");
    }
    RequireAtMost(kMostLocations, *list, kPath);
    for (size_t i = 0; i < list->items.size(); i++) {
        const Json &item = list->items[i];
        const bool whole = item.kind == Json::Kind::kNumber && WholeNumber(item).has_value();
        if (item.kind != Json::Kind::kString && !whole) {
            WrongShape(ElementPath(kPath, i), "a string or a whole number", &item);
        }
        const std::string &location = whole ? item.normal : item.text;
        if (std::find(locations.begin(), locations.end(), location) != locations.end()) {
            throw pg::SqlError(
                ERRCODE_INVALID_PARAMETER_VALUE,
                ElementPath(kPath, i) + " is \"" + location + "\", as one before it");
        }
        locations.push_back(location);
    }
    return locations;
}

// What an order may choose about its locations, for its fingerprint; empty for the defaults.
std::string CanonicalLocations(const OrderOptions &options) {
    std::string canonical = options.split ? ",\"location\":\"split\"" : "";
    for (const std::string &location : options.locations) {
        canonical += (&location == &options.locations.front() ? ",\"locations\":[" : ",") +
                     JsonString(location);
    }
    return canonical + (options.locations.empty() ? "" : "]");
}

RequestLine ReadLine(const Binding &binding, const Json &json, const std::string &path) {
    CheckObject(json, path);
    CheckMembers(json, {"variant_id", "quantity", "unit_price", "location_id"}, path);
    RequestLine line;
    const std::string variant = ReadId(json, "variant_id", path);
    const auto location = ReadOptionalId(json, "location_id", path);
    try {
        line.need = MakeNeed(binding, variant, location);
    } catch (const pg::SqlError &error) {
        throw pg::SqlError(error.sqlstate(), path + ": " + error.message(), error.detail(),
                           error.hint());
    }
    line.quantity = ReadQuantity(json, "quantity", path);
    if (const Json *const price = json.Find("unit_price")) {
        if (price->kind != Json::Kind::kNumber || price->normal[0] == '-') {
            throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                               path + ".unit_price must be a number that is not negative");
        }
        line.unit_price = price->text;
        line.price_normal = price->normal;
    }
    return line;
}

bool SameRow(const RequestLine &a, const RequestLine &b) {
    return !(a.need < b.need) && !(b.need < a.need) && a.price_normal == b.price_normal;
}

bool LineBefore(const RequestLine &a, const RequestLine &b) {
    if (a.need < b.need || b.need < a.need) {
        return a.need < b.need;
    }
    return a.price_normal < b.price_normal;
}

std::vector<RequestLine> MergeLines(std::vector<RequestLine> lines) {
    std::stable_sort(lines.begin(), lines.end(), LineBefore);
    std::vector<RequestLine> merged;
    for (RequestLine &line : lines) {
        if (merged.empty() || !SameRow(merged.back(), line)) {
            merged.push_back(std::move(line));
        } else if (__builtin_add_overflow(merged.back().quantity, line.quantity,
                                          &merged.back().quantity)) {
            throw pg::SqlError(pg::kInvalidQuantity,
                               "quantity out of range: the lines of variant \"" +
                                   line.need.variant.text + "\" add up to too much");
        }
    }
    return merged;
}

std::string CanonicalLines(const std::vector<RequestLine> &lines) {
    std::string canonical = "[";
    for (const RequestLine &line : lines) {
        const auto &location = line.need.location;
        canonical += "[" + JsonString(line.need.variant.text) + "," +
                     (location ? JsonString(location->text) : "null") + "," +
                     std::to_string(line.quantity) + "," + line.price_normal.value_or("null") + "]";
    }
    return canonical + "]";
}

// Whether a lock's key can hold both; the idempotency key is to blame when its user alone fits.
void CheckOrderKey(const std::string &user_id, const std::string &idempotency_key) {
    locking::OrderKey(user_id, "k");
    try {
        locking::OrderKey(user_id, idempotency_key);
    } catch (const pg::SqlError &error) {
        throw pg::SqlError(pg::kIdempotencyKeyInvalid, error.message(), error.detail(),
                           error.hint());
    }
}

}  // namespace

void CheckIdempotencyKey(const std::string &key) {
    const char *problem = nullptr;
    if (key.empty()) {
        problem = "must not be empty";
    } else if (key.size() > locking::kMaxKeyBytes) {
        problem = "must not have more than 255 bytes";
    }
    for (const char c : key) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
            problem = "must not contain control characters";
        }
    }
    if (problem != nullptr) {
        throw pg::SqlError(pg::kIdempotencyKeyInvalid, std::string("idempotency_key ") + problem);
    }
}

OrderOptions ReadOrderOptions(const Json &options) {
    CheckObject(options, "options");
    CheckMembers(options,
                 {"on_conflict", "on_failure", "partial", "location", "locations", "purchase_limit",
                  "reservation_id", "wait_timeout", "binding"},
                 "options");
    OrderOptions result;
    result.fail_on_conflict = ReadWord(options, "on_conflict", {"wait", "error"}) == "error";
    result.record_failure = ReadWord(options, "on_failure", {"raise", "record"}) == "record";
    result.partial_available = ReadWord(options, "partial", {"reject", "available"}) == "available";
    result.split = ReadWord(options, "location", {"single", "split"}) == "split";
    result.locations = ReadLocations(options);
    if (options.Find("purchase_limit") != nullptr) {
        result.purchase_limit = ReadQuantity(options, "purchase_limit", "options");
    }
    result.wait_timeout = ReadOptionalString(options, "wait_timeout", "options");
    result.reservation_id = ReadOptionalString(options, "reservation_id", "options");
    result.binding = ReadOptionalString(options, "binding", "options").value_or("default");
    return result;
}

std::vector<RequestLine> ReadRequestLines(const Binding &binding, const Json &lines) {
    if (CheckArray(lines, "lines").items.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "lines must not be empty");
    }
    std::vector<RequestLine> result;
    for (size_t i = 0; i < lines.items.size(); i++) {
        result.push_back(ReadLine(binding, lines.items[i], ElementPath("lines", i)));
    }
    return MergeLines(std::move(result));
}

std::optional<std::string> TotalOf(const std::vector<RequestLine> &lines) {
    Datum sum = pg::Call([] { return DirectFunctionCall1(int8_numeric, Int64GetDatum(0)); });
    for (const RequestLine &line : lines) {
        if (!line.unit_price) {
            return std::nullopt;
        }
        const char *const price = line.unit_price->c_str();
        const int64 quantity = line.quantity;
        sum = pg::Call([=] {
            const Datum factor =
                DirectFunctionCall3(numeric_in, CStringGetDatum(price),
                                    ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
            const Datum count = DirectFunctionCall1(int8_numeric, Int64GetDatum(quantity));
            return DirectFunctionCall2(numeric_add, sum,
                                       DirectFunctionCall2(numeric_mul, factor, count));
        });
    }
    return std::string(
        pg::Call([sum] { return DatumGetCString(DirectFunctionCall1(numeric_out, sum)); }));
}

OrderRequest ReadOrderRequest(const Binding &binding, const std::string &user_id,
                              const std::string &idempotency_key, const Json &lines,
                              const Json &order_data, Datum order_data_jsonb,
                              const OrderOptions &options) {
    OrderRequest request;
    request.user_id = user_id;
    request.idempotency_key = idempotency_key;
    CheckOrderKey(user_id, idempotency_key);
    request.lines = ReadRequestLines(binding, lines);
    request.total = TotalOf(request.lines);
    CheckObject(order_data, "order_data");
    request.currency = ReadOptionalString(order_data, "currency", "order_data");
    request.data = order_data_jsonb;
    request.data_canonical = order_data.Canonical();
    request.reservation_id = options.reservation_id;
    // What was not asked for is not in it: requests of before an option existed stay the same.
    const std::string reservation =
        request.reservation_id ? ",\"reservation\":" + JsonString(*request.reservation_id) : "";
    const std::string partial = options.partial_available ? ",\"partial\":\"available\"" : "";
    request.canonical = "{\"lines\":" + CanonicalLines(request.lines) +
                        ",\"data\":" + request.data_canonical + reservation + partial +
                        CanonicalLocations(options) + "}";
    return request;
}

const std::string &OrderRequest::Fingerprint() const {
    if (fingerprint_.empty()) {
        fingerprint_ = kFingerprintVersion + Sha256(canonical);
    }
    return fingerprint_;
}

std::vector<LineSelector> ReadLineSelectors(const Json &lines) {
    std::vector<LineSelector> selectors;
    if (CheckArray(lines, "lines").items.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "lines must not be empty");
    }
    RequireAtMost(kMostSelectors, lines, "lines");
    for (size_t i = 0; i < lines.items.size(); i++) {
        const Json &json = lines.items[i];
        LineSelector selector;
        selector.path = ElementPath("lines", i);
        selector.quantity_path = selector.path + ".quantity";
        CheckObject(json, selector.path);
        CheckMembers(json, {"line_no", "variant_id", "location_id", "quantity"}, selector.path);
        if (json.Find("line_no") != nullptr) {
            selector.line_no = ReadQuantity(json, "line_no", selector.path);
        }
        selector.variant_id = ReadOptionalId(json, "variant_id", selector.path);
        selector.location_id = ReadOptionalId(json, "location_id", selector.path);
        if (!selector.line_no && !selector.variant_id) {
            throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                               selector.path + " must have a line_no or a variant_id");
        }
        if (json.Find("quantity") != nullptr) {
            selector.quantity = ReadQuantity(json, "quantity", selector.path);
        }
        selectors.push_back(std::move(selector));
    }
    return selectors;
}

void NormalizeIds(const Binding &binding, std::optional<std::vector<LineSelector>> *selectors) {
    if (!*selectors) {
        return;
    }
    for (LineSelector &selector : **selectors) {
        if (selector.variant_id) {
            selector.variant_id = NormalId(binding, "variant_id", *selector.variant_id);
        }
        if (selector.location_id) {
            selector.location_id = NormalId(binding, "location_id", *selector.location_id);
        }
    }
}

std::optional<std::string> ReadOptionalId(const Json &object, const char *name,
                                          const std::string &path) {
    const Json *const member = object.Find(name);
    if (member == nullptr) {
        return std::nullopt;
    }
    if (member->kind == Json::Kind::kString) {
        return member->text;
    }
    if (member->kind != Json::Kind::kNumber || !WholeNumber(*member)) {
        WrongShape(path + "." + name, "a string or a whole number", member);
    }
    return member->normal;
}

std::string ReadId(const Json &object, const char *name, const std::string &path) {
    auto id = ReadOptionalId(object, name, path);
    if (!id) {
        throw pg::SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                           path + "." + name + " must be given and not be null");
    }
    return *id;
}

int64 ReadQuantity(const Json &object, const char *name, const std::string &path) {
    const Json *const member = object.Find(name);
    const std::string full = path + "." + name;
    if (member == nullptr) {
        throw pg::SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, full + " must be given and not be null");
    }
    if (member->kind != Json::Kind::kNumber) {
        WrongShape(full, "a number", member);
    }
    const auto number = WholeNumber(*member);
    if (!number || *number <= 0) {
        throw pg::SqlError(pg::kInvalidQuantity,
                           full + " must be a whole number from 1 to 9223372036854775807",
                           "It is " + member->text.substr(0, 100) + ".");
    }
    return *number;
}

void CheckMembers(const Json &object, std::initializer_list<std::string_view> known,
                  const std::string &path) {
    for (const std::string &name : object.names) {
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            std::string list;
            for (const std::string_view word : known) {
                list += (list.empty() ? "" : ", ") + std::string(word);
            }
            throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                               path + " has an unknown member \"" + name + "\"", {},
                               "Known are " + list + ".");
        }
    }
}

const Json &CheckArray(const Json &json, const char *path) {
    if (json.kind != Json::Kind::kArray) {
        WrongShape(path, "an array", &json);
    }
    return json;
}

const Json &CheckObject(const Json &json, const std::string &path) {
    if (json.kind != Json::Kind::kObject) {
        WrongShape(path, "an object", &json);
    }
    return json;
}

std::string ElementPath(const char *array, size_t index) {
    return std::string(array) + "[" + std::to_string(index) + "]";
}

std::optional<int64> ReadOptionalInteger(const Json &object, const char *name,
                                         const std::string &path) {
    const Json *const member = object.Find(name);
    if (member == nullptr) {
        return std::nullopt;
    }
    if (member->kind != Json::Kind::kNumber) {
        WrongShape(path + "." + name, "a number", member);
    }
    const auto number = WholeNumber(*member);
    if (!number) {
        throw pg::SqlError(pg::kInvalidQuantity,
                           path + "." + name + " must be a whole number in the range of bigint");
    }
    return number;
}

std::string Sha256(const std::string &text) {
    uint8 digest[PG_SHA256_DIGEST_LENGTH];
    uint8 *const out = digest;
    const auto *const bytes = reinterpret_cast<const uint8 *>(text.data());
    const size_t length = text.size();
    pg::Call([=] {
        pg_cryptohash_ctx *const context = pg_cryptohash_create(PG_SHA256);
        if (context == nullptr || pg_cryptohash_init(context) < 0 ||
            pg_cryptohash_update(context, bytes, length) < 0 ||
            pg_cryptohash_final(context, out, PG_SHA256_DIGEST_LENGTH) < 0) {
            elog(ERROR, "could not compute a SHA-256 hash");
        }
        pg_cryptohash_free(context);
    });
    std::string hex;
    for (const uint8 byte : digest) {
        char two[3];
        std::snprintf(two, sizeof(two), "%02x", static_cast<unsigned>(byte));
        hex += two;
    }
    return hex;
}

}  // namespace inventory_lock::commerce
