// Writing: a level and its movement in one statement, so that no ledger can miss a change.
//
// Runs in: backends. The caller holds the locks and the rows (stock_level.hpp). The set form is a
// part of larger statements too (an order, a cancellation): it is offered as the text of two CTEs.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// What is common to all movements of one call.
struct Occasion {
    const char *kind = "adjust";
    std::string reason;
    std::optional<std::string> reference_type;
    std::optional<std::string> reference_id;
    std::optional<std::string> actor;
    std::optional<std::string> note;
    std::optional<std::string> request_key;
};

// One change of one level.
struct StockChange {
    Id variant;
    Level level;  // as it was
    int64 delta = 0;
    locking::Grant grant;
};

struct WrittenChange {
    std::string movement_id;
    int64 on_hand = 0;
    std::optional<int64> version;
};

const char *ProtectionName(const locking::Grant &grant);

// Writes one change. Throws IL021 when its request_key turns out to be used by another variant.
WrittenChange WriteChange(Binding &binding, const StockChange &change, const Occasion &occasion);

// A level that was locked and did not take the update.
pg::SqlError NotWritten(const std::string &variant_id);

// The CTEs `change`, `level` and `movement` over parameters $1 to $10, for statements that write
// several changes:
//   change (n, variant_id, location_id, delta, fence, protection)
//   level  (n, variant_id, …, on_hand, version)      the levels after the change
//   movement (movement_id)
// `reference_id` and `request_key` are expressions over level's alias l; `from` may add tables they
// need (", placed p").
std::string ChangeCtes(const Binding &binding, const std::string &reference_id,
                       const std::string &request_key, const std::string &from);

// The types and the values of $1 to $10.
std::vector<Oid> ChangeTypes(const Binding &binding);
Params ChangeParams(const Binding &binding, const std::vector<StockChange> &changes,
                    const Occasion &occasion);

}  // namespace inventory_lock::commerce
