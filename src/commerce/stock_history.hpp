// The ledger's own answers: what a level was at some time, and a level set to what its ledger says.
//
// Runs in: backends; StockAt also on a standby. The ledger of a level is its quantity before its
// first movement plus all deltas since. Movements are only ever added, under the level's lock, so
// a level that differs from its ledger was changed behind the extension's back.
//
// A movement counts from its occurred_at, which is when it was written, not when its transaction
// was committed: a time that lies within an open transaction is answered differently afterwards.

#pragma once

#include "commerce/stock_report.hpp"

namespace inventory_lock::commerce {

struct PastLevel {
    std::string variant_id;
    std::string location_id;
    int64 on_hand = 0;
};

// What the levels of a variant were at a time, at one location or all, by location. Before a
// level's first movement it is what it was just before that. Takes no locks. Throws IL051 when the
// movements have no times.
std::vector<PastLevel> StockAt(Binding &binding, const std::string &variant_id, TimestampTz at,
                               const std::optional<std::string> &location_id);

}  // namespace inventory_lock::commerce
