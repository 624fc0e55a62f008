// Reading stock: levels as they are, and whether the ledger agrees with them.
//
// Runs in: backends, also on a standby. Takes no locks but PostgreSQL's own for reading.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

struct StockRow {
    std::string variant_id;
    Level level;
};

// The levels of a variant, at one location or all.
std::vector<StockRow> ReadStock(Binding &binding, const std::string &variant_id,
                                const std::optional<std::string> &location_id);

struct LedgerRow {
    std::string variant_id;
    std::string location_id;
    std::optional<int64> level;  // nullopt when the level's row is gone
    int64 ledger = 0;
    int64 drift = 0;
};

// Compares each level with its ledger: the level before the first movement plus all deltas.
std::vector<LedgerRow> VerifyStock(Binding &binding, const std::optional<std::string> &variant_id);

}  // namespace inventory_lock::commerce
