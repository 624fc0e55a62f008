// Sets drifted levels of a variant to what their ledgers say.
//
// Runs in: backends. Locks like every change of stock, keys before rows (stock_level.hpp), and
// compares under them: nobody writes a level or a movement of the variant meanwhile, unless he
// goes round the locks as whoever caused the drift did. No movement is written, for the ledger is
// what is taken to be true; version and fence of a changed row rise like with any other change.

#pragma once

#include "commerce/stock_report.hpp"

namespace inventory_lock::commerce {

enum class RebuildMode : uint8 {
    kReport,  // takes no locks, changes nothing
    kRepair,
};

struct RebuiltLevel {
    LedgerRow row;  // as it was found
    bool rebuilt = false;
};

// Every level of the variant by location, drifted or not. A level whose row is gone is reported
// and stays gone. Throws IL002 when there are neither levels nor movements, IL003 when a ledger
// comes to what its level may not be; nothing is changed then.
std::vector<RebuiltLevel> RebuildStock(Binding &binding, const std::string &variant_id,
                                       RebuildMode mode, locking::WaitBudget &budget);

}  // namespace inventory_lock::commerce
