// Reads stock: see stock_report.hpp.

#include "commerce/stock_report.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/reservations.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

std::vector<StockRow> ReadStock(Binding &binding, const std::string &variant_id,
                                const std::optional<std::string> &location_id) {
    const StockNeed need = MakeNeed(binding, variant_id, location_id);
    std::vector<StockRow> rows;
    std::vector<Level> levels = PeekLevels(binding, {need})[0];
    const bool any_held = std::any_of(levels.begin(), levels.end(),
                                      [](const Level &level) { return level.held > 0; });
    // A hold whose time is over binds nobody, tidied up or not.
    const OwnHolds expired = any_held ? FindExpired(binding, {need}) : OwnHolds();
    for (Level &level : levels) {
        const auto over = expired.find({need.variant.text, level.location});
        level.held -= over != expired.end() ? std::min(over->second, level.held) : 0;
        rows.push_back({need.variant.text, level});
    }
    return rows;
}

std::vector<LedgerRow> VerifyStock(Binding &binding, const std::optional<std::string> &variant_id) {
    // Movements of one level are written under its lock, so their ids grow in the order of writing.
    const std::string sql = binding.Sql(
        "WITH ledger AS (SELECT (s.{movement.variant_id})::pg_catalog.text AS variant_id,"
        " {s:movement.location_id|'main'}::pg_catalog.text AS location_id,"
        " ((pg_catalog.array_agg(s.{movement.on_hand_after}{-}s.{movement.delta}"
        "   ORDER BY s.{movement.movement_id}))[1]{+}pg_catalog.sum(s.{movement.delta}))"
        "  ::pg_catalog.int8 AS quantity"
        " FROM {movement} s WHERE $1 IS NULL OR s.{movement.variant_id}{=}$1"
        "  ::{type:movement.variant_id} GROUP BY 1, 2),"
        " level AS (SELECT (s.{stock_level.variant_id})::pg_catalog.text AS variant_id,"
        " {s:stock_level.location_id|'main'}::pg_catalog.text AS location_id,"
        " (s.{stock_level.on_hand})::pg_catalog.int8 AS quantity FROM {stock_level} s"
        " WHERE ($1 IS NULL OR "
        "s.{stock_level.variant_id}{=}$1::{type:stock_level.variant_id}){live})"
        " SELECT COALESCE(l.variant_id, m.variant_id), COALESCE(l.location_id, m.location_id),"
        " l.quantity, COALESCE(m.quantity, l.quantity),"
        " COALESCE(l.quantity, 0){-}COALESCE(m.quantity, l.quantity)"
        " FROM level l FULL JOIN ledger m ON l.variant_id{=}m.variant_id"
        " AND l.location_id{=}m.location_id"
        " ORDER BY COALESCE(l.variant_id, m.variant_id) COLLATE pg_catalog.\"C\","
        " COALESCE(l.location_id, m.location_id) COLLATE pg_catalog.\"C\"");
    Params params;
    if (variant_id) {
        params.Text(MakeNeed(binding, *variant_id, std::nullopt).variant.text);
    } else {
        params.Null();
    }
    const Rows rows = RunOnce(sql, {TEXTOID}, params);
    std::vector<LedgerRow> result;
    for (size_t i = 0; i < rows.size(); i++) {
        LedgerRow row;
        row.variant_id = rows.Text(i, 0);
        row.location_id = rows.Text(i, 1);
        row.level = rows.OptionalInt8(i, 2);
        row.ledger = rows.Int8(i, 3);
        row.drift = rows.Int8(i, 4);
        result.push_back(row);
    }
    return result;
}

}  // namespace inventory_lock::commerce
