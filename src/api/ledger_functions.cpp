// SQL functions that answer from the movement ledger: they read arguments, ask commerce/ and build
// rows; nothing else.
//
// Runs in: backends. As in stock_functions.cpp, arguments are checked first, then the caller's
// privileges on the tables, then anything is read or locked.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/stock_history.hpp"
#include "commerce/stock_rebuild.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::api {

IL_FUNCTION(inventory_lock_stock_at) {
    const Arguments arguments(fcinfo);
    const std::string variant_id = arguments.Id(0, "variant_id");
    const TimestampTz at = DatumGetTimestampTz(arguments.Required(1, "at"));
    const auto location_id = arguments.OptionalText(2);
    const std::string binding_name = arguments.Text(3, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenBinding(
        binding_name,
        {{commerce::TableId::kStockLevel, ACL_SELECT}, {commerce::TableId::kMovement, ACL_SELECT}});
    Result result(fcinfo);
    for (const commerce::PastLevel &level :
         commerce::StockAt(*binding, variant_id, at, location_id)) {
        Row row;
        row.Text(level.variant_id).Text(level.location_id).Int8(level.on_hand);
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_rebuild_stock) {
    const Arguments arguments(fcinfo);
    const std::string variant_id = arguments.Id(0, "variant_id");
    const bool dry_run = DatumGetBool(arguments.Required(1, "dry_run"));
    if (!dry_run) {
        RequireWritable("rebuild_stock()");
    }
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(2));
    const std::string binding_name = arguments.Text(3, "binding");
    commerce::Session session;
    std::vector<commerce::Access> access = {{commerce::TableId::kStockLevel, ACL_SELECT},
                                            {commerce::TableId::kMovement, ACL_SELECT}};
    if (!dry_run) {
        access[0].mode |= ACL_UPDATE;
        access.push_back(commerce::kEventAccess);
    }
    const auto binding = commerce::OpenBinding(binding_name, access);
    const auto levels = commerce::RebuildStock(
        *binding, variant_id,
        dry_run ? commerce::RebuildMode::kReport : commerce::RebuildMode::kRepair, budget);
    Result result(fcinfo);
    for (const commerce::RebuiltLevel &level : levels) {
        Row row;
        row.Text(level.row.variant_id)
            .Text(level.row.location_id)
            .Int8(level.row.level)
            .Int8(level.row.ledger)
            .Int8(level.row.drift)
            .Bool(level.rebuilt);
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

}  // namespace inventory_lock::api
