// Reads holds and fences from side tables: see derived_level.hpp.

#include "commerce/derived_level.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

// Rows of alias s in a table are those of the level that alias u has as texts.
std::string OfLevel(const Binding &binding, TableId id, const std::string &table) {
    const bool located = binding.find(id, "location_id") != nullptr;
    return "s.{" + table + ".variant_id}{=}u.variant_id::{type:" + table + ".variant_id}" +
           (located ? " AND s.{" + table + ".location_id}{=}u.location_id::{type:" + table +
                          ".location_id}"
                    : "");
}

std::unique_ptr<Statement> BuildReadDerived(const Binding &binding) {
    const std::string held =
        binding.counts_holds() ? "(SELECT pg_catalog.sum(s.{reservation.quantity})::pg_catalog.int8"
                                 " FROM {reservation} s WHERE " +
                                     OfLevel(binding, TableId::kReservation, "reservation") +
                                     " AND (s.{reservation.state})::pg_catalog.text{=}'held')"
                               : "NULL::pg_catalog.int8";
    const std::string fence =
        binding.fences_in_ledger()
            ? "(SELECT s.{movement.fence}::pg_catalog.int8 FROM {movement} s WHERE " +
                  OfLevel(binding, TableId::kMovement, "movement") +
                  " ORDER BY s.{movement.movement_id} DESC LIMIT 1)"
            : "NULL::pg_catalog.int8";
    return std::make_unique<Statement>(
        binding.Sql("SELECT " + held + ", " + fence +
                    " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
                    " WITH ORDINALITY AS u (variant_id, location_id, n) ORDER BY u.n"),
        std::vector<Oid>{TEXTARRAYOID, TEXTARRAYOID});
}

}  // namespace

void FillDerived(Binding &binding, const std::vector<StockNeed> &needs,
                 std::vector<std::vector<Level>> *levels) {
    if (!binding.counts_holds() && !binding.fences_in_ledger()) {
        return;
    }
    std::vector<std::string> variants;
    std::vector<std::string> locations;
    std::vector<Level *> filled;
    for (size_t i = 0; i < needs.size(); i++) {
        for (Level &level : (*levels)[i]) {
            variants.push_back(needs[i].variant.text);
            locations.push_back(level.location);
            filled.push_back(&level);
        }
    }
    if (filled.empty()) {
        return;
    }
    Params params;
    params.TextArray(variants).TextArray(locations);
    const Rows rows = binding.Plan(PlanId::kReadDerived, BuildReadDerived).Run(params);
    for (size_t i = 0; i < filled.size(); i++) {
        if (binding.counts_holds()) {
            filled[i]->held = rows.Int8(i, 0);
        }
        if (binding.fences_in_ledger()) {
            filled[i]->fence = static_cast<uint64>(rows.Int8(i, 1));
        }
    }
}

}  // namespace inventory_lock::commerce
