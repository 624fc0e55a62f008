// What a caller asks for: the lines of an order, read from JSON, checked, merged, fingerprinted.
//
// Runs in: backends. Every complaint names the JSON path ("lines[3].quantity"). Nothing is locked
// or read from tables here. The fingerprint is a SHA-256 of the canonical request: lines merged and
// sorted, numbers without trailing zeros, object members in one order. It starts with the version
// of that form, so that a later form can still tell old requests from new ones.

#pragma once

#include "commerce/json.hpp"
#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// A line as it becomes a row: lines of one variant, location and price are one.
struct RequestLine {
    StockNeed need;
    int64 quantity = 0;
    std::optional<std::string> unit_price;    // numeric, as written
    std::optional<std::string> price_normal;  // the same for equal prices
};

struct OrderOptions {
    bool fail_on_conflict = false;              // on_conflict: error instead of wait
    bool partial_available = false;             // partial: available instead of reject
    bool split = false;                         // location: split instead of single
    std::vector<std::string> locations;         // the only ones for lines that name none, in order
    bool record_failure = false;                // on_failure: record instead of raise
    std::optional<std::string> wait_timeout;    // an interval's text
    std::optional<std::string> reservation_id;  // a hold of the customer's own, used up
    std::optional<int64> purchase_limit;        // units of a variant that the user may have
    std::string binding = "default";
};

struct OrderRequest {
    std::string user_id;
    std::string idempotency_key;
    std::vector<RequestLine> lines;     // merged, in the order of locking
    std::vector<RequestLine> unserved;  // what a partial order could not get of them
    Datum data = 0;                     // jsonb
    std::optional<std::string> currency;
    std::optional<std::string> total;  // nullopt when a line has no price
    std::string data_canonical;
    std::string canonical;  // all that the fingerprint is of
    std::optional<std::string> reservation_id;

    // Computed when it is asked for first.
    const std::string &Fingerprint() const;

  private:
    mutable std::string fingerprint_;
};

// IL022 unless the key has 1 to 255 bytes and no control characters.
void CheckIdempotencyKey(const std::string &key);

// 22023 for members that are unknown or have the wrong shape.
OrderOptions ReadOrderOptions(const Json &options);

// Reads and checks lines and data; 22023, 22004, IL003.
OrderRequest ReadOrderRequest(const Binding &binding, const std::string &user_id,
                              const std::string &idempotency_key, const Json &lines,
                              const Json &order_data, Datum order_data_jsonb,
                              const OrderOptions &options);

// Σ quantity × unit_price in numeric; nullopt when a line has no price.
std::optional<std::string> TotalOf(const std::vector<RequestLine> &lines);

// The lines alone, merged and in the order of locking.
std::vector<RequestLine> ReadRequestLines(const Binding &binding, const Json &lines);

// A line of cancel_order_locked and its kin: by line_no, or by variant and perhaps location.
struct LineSelector {
    std::optional<int64> line_no;
    std::optional<std::string> variant_id;
    std::optional<std::string> location_id;
    std::optional<int64> quantity;  // nullopt: all that is left
    std::string path;               // "lines[0]", for messages
    std::string quantity_path;      // "lines[0].quantity"
};

std::vector<LineSelector> ReadLineSelectors(const Json &lines);

// Their ids as the stock table has them.
void NormalizeIds(const Binding &binding, std::optional<std::vector<LineSelector>> *selectors);

// Members of a JSON object by the rules of all arguments here. `path` is for messages.
std::string ReadId(const Json &object, const char *name, const std::string &path);
std::optional<std::string> ReadOptionalId(const Json &object, const char *name,
                                          const std::string &path);
std::optional<int64> ReadOptionalInteger(const Json &object, const char *name,
                                         const std::string &path);
int64 ReadQuantity(const Json &object, const char *name, const std::string &path);
void CheckMembers(const Json &object, std::initializer_list<std::string_view> known,
                  const std::string &path);
const Json &CheckArray(const Json &json, const char *path);
const Json &CheckObject(const Json &json, const std::string &path);
std::string ElementPath(const char *array, size_t index);

// Hexadecimal SHA-256.
std::string Sha256(const std::string &text);

}  // namespace inventory_lock::commerce
