// Sets levels to what their ledgers say: see stock_rebuild.hpp.

#include "commerce/stock_rebuild.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/outbox.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

// What a level must be raised by. Throws IL003 for a ledger that the level cannot follow.
int64 DeltaToLedger(const Binding &binding, const StockNeed &need, const Level &level,
                    int64 ledger) {
    const __int128 lowest = -static_cast<__int128>(level.backorder_limit);
    if (ledger < lowest) {
        throw pg::SqlError(
            pg::kInvalidQuantity,
            "ledger of variant \"" + need.variant.text + "\" at \"" + level.location +
                "\" comes to " + std::to_string(ledger) + ", which is below what is allowed",
            "A level may not fall below " + std::to_string(static_cast<int64>(lowest)) + ".",
            "Add the movement that the ledger lacks, or raise the backorder limit.");
    }
    int64 delta;
    if (__builtin_sub_overflow(ledger, level.on_hand, &delta)) {
        throw pg::SqlError(pg::kInvalidQuantity, "quantity out of range");
    }
    AddToStock(binding, level, delta);
    return delta;
}

void AddToLevel(const Binding &binding, const StockChange &change) {
    const Column *const location = binding.find(TableId::kStockLevel, "location_id");
    const std::string sql = "UPDATE " + binding.table(TableId::kStockLevel).name + " s SET " +
                            SetList(binding, TableId::kStockLevel,
                                    {{"on_hand", "s.{stock_level.on_hand}{+}$3"},
                                     {"version", "{s:stock_level.version|0}{+}1"},
                                     {"fence", "$4"},
                                     {"updated_at", "pg_catalog.clock_timestamp()"}}) +
                            binding.Sql(" WHERE s.{stock_level.variant_id}{=}$1{live} AND ") +
                            binding.Sql(location != nullptr ? "s.{stock_level.location_id}{=}$2"
                                                            : "$2{=}'main'::pg_catalog.text") +
                            " RETURNING 1";
    Params params;
    params.Value(change.variant.value)
        .Value(location != nullptr ? ParseId(*location, change.level.location, "location_id").value
                                   : TextDatum(change.level.location))
        .Int8(change.delta)
        .Int8(static_cast<int64>(change.grant.fence));
    const std::vector<Oid> types = {binding.column(TableId::kStockLevel, "variant_id").type,
                                    location != nullptr ? location->type : TEXTOID, INT8OID,
                                    INT8OID};
    if (RunOnce(sql, types, params).size() != 1) {
        throw NotWritten(change.variant.text);
    }
}

}  // namespace

std::vector<RebuiltLevel> RebuildStock(Binding &binding, const std::string &variant_id,
                                       RebuildMode mode, locking::WaitBudget &budget) {
    const std::vector<StockNeed> needs = {MakeNeed(binding, variant_id, std::nullopt)};
    const StockNeed &need = needs[0];
    std::optional<StockLocks> locks;
    std::vector<Level> levels;
    if (mode == RebuildMode::kRepair) {
        locks = StockLocks::Acquire(binding, needs, budget);
        levels = LockLevels(binding, needs, budget)[0];
    }
    std::vector<RebuiltLevel> result;
    for (const LedgerRow &row : VerifyStock(binding, need.variant.text)) {
        result.push_back({row, false});
        if (row.drift == 0 || !row.level) {
            continue;
        }
        for (const Level &level : levels) {
            if (level.location == row.location_id) {
                const int64 delta = DeltaToLedger(binding, need, level, row.ledger);
                StockChange change;
                change.variant = need.variant;
                change.level = level;
                change.delta = delta;
                change.grant = locks->FenceFor(need.variant.text, level);
                AddToLevel(binding, change);
                WriteEvent(binding, change);
                result.back().rebuilt = true;
            }
        }
    }
    if (result.empty()) {
        throw StockItemNotFound(need);
    }
    return result;
}

}  // namespace inventory_lock::commerce
