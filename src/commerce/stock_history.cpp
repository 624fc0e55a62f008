// Answers from the ledger: see stock_history.hpp.

#include "commerce/stock_history.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::commerce {

std::vector<PastLevel> StockAt(Binding &binding, const std::string &variant_id, TimestampTz at,
                               const std::optional<std::string> &location_id) {
    const StockNeed need = MakeNeed(binding, variant_id, location_id);
    // One movement's time may lie before that of the one written before it: clocks are set. So
    // the first movement is the one with the lowest id, and the time decides only what counts.
    const std::string sql = binding.Sql(
        "WITH ledger AS (SELECT {s:movement.location_id|'main'}::pg_catalog.text AS location_id,"
        " ((pg_catalog.array_agg(s.{movement.on_hand_after}{-}s.{movement.delta}"
        "   ORDER BY s.{movement.movement_id}))[1]{+}COALESCE(pg_catalog.sum(s.{movement.delta})"
        "  FILTER (WHERE s.{movement.occurred_at}{<=}$2), 0))::pg_catalog.int8 AS quantity"
        " FROM {movement} s WHERE s.{movement.variant_id}{=}$1::{type:movement.variant_id}"
        " GROUP BY 1),"
        " level AS (SELECT {s:stock_level.location_id|'main'}::pg_catalog.text AS location_id,"
        " (s.{stock_level.on_hand})::pg_catalog.int8 AS quantity FROM {stock_level} s"
        " WHERE s.{stock_level.variant_id}{=}$1::{type:stock_level.variant_id}{live})"
        " SELECT COALESCE(m.location_id, l.location_id), COALESCE(m.quantity, l.quantity)"
        " FROM level l FULL JOIN ledger m ON l.location_id{=}m.location_id"
        " WHERE $3 IS NULL OR COALESCE(m.location_id, l.location_id){=}$3"
        " ORDER BY COALESCE(m.location_id, l.location_id) COLLATE pg_catalog.\"C\"");
    Params params;
    params.Text(need.variant.text).Value(TimestampTzGetDatum(at));
    if (need.location) {
        params.Text(need.location->text);
    } else {
        params.Null();
    }
    const Rows rows = RunOnce(sql, {TEXTOID, TIMESTAMPTZOID, TEXTOID}, params);
    std::vector<PastLevel> levels;
    for (size_t i = 0; i < rows.size(); i++) {
        levels.push_back({need.variant.text, rows.Text(i, 0), rows.Int8(i, 1)});
    }
    return levels;
}

}  // namespace inventory_lock::commerce
