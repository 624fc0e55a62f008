// SQL functions over bindings.
//
// Runs in: backends.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/bind.hpp"
#include "commerce/tables.hpp"

extern "C" {
#include <commands/trigger.h>
#include <utils/inval.h>
#include <utils/rel.h>
}

namespace inventory_lock::api {

IL_FUNCTION(inventory_lock_create_tables) {
    const Arguments arguments(fcinfo);
    RequireWritable("create_tables()");
    const std::string schema(NameStr(*DatumGetName(arguments.Required(0, "schema"))));
    if (schema.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "argument \"schema\" must not be empty");
    }
    commerce::Session session;
    commerce::CreateTables(schema);
    session.Finish();
    return static_cast<Datum>(0);
}

// create_outbox(binding)
IL_FUNCTION(inventory_lock_create_outbox) {
    const Arguments arguments(fcinfo);
    RequireWritable("create_outbox()");
    const std::string binding_name = arguments.Text(0, "binding");
    commerce::Session session;
    commerce::CreateOutbox(binding_name);
    session.Finish();
    return static_cast<Datum>(0);
}

// bind(name, stock_level, movement, orders, order_line, reservation, columns, lock_per_location,
// variant_column, location_column, product_column, on_hand_column, held_column, version_column,
// fence_column, create_missing, order_writer)
IL_FUNCTION(inventory_lock_bind) {
    constexpr const char *kStockRoles[] = {"variant_id", "location_id", "product_id", "on_hand",
                                           "held",       "version",     "fence"};
    constexpr int kFirstTable = 1;
    constexpr int kFirstColumn = 8;
    const Arguments arguments(fcinfo);
    RequireWritable("bind()");
    commerce::Session session;
    commerce::BindRequest request;
    request.name = arguments.Text(0, "name");
    request.stock_level = DatumGetObjectId(arguments.Required(kFirstTable, "stock_level"));
    for (size_t i = 0; i < commerce::kTablesOfBind; i++) {
        const int number = kFirstTable + static_cast<int>(i);
        request.tables[i] = arguments.IsNull(number)
                                ? InvalidOid
                                : DatumGetObjectId(arguments.Required(number, "table"));
    }
    request.columns = commerce::ReadJson(arguments.Required(6, "columns"));
    request.lock_per_location = DatumGetBool(arguments.Required(7, "lock_per_location"));
    request.create_missing = DatumGetBool(arguments.Required(15, "create_missing"));
    if (!arguments.IsNull(16)) {
        request.order_writer = DatumGetObjectId(arguments.Required(16, "order_writer"));
    }
    for (size_t i = 0; i < std::size(kStockRoles); i++) {
        if (auto column = arguments.OptionalText(kFirstColumn + static_cast<int>(i))) {
            request.stock_columns.emplace_back(kStockRoles[i], std::move(*column));
        }
    }
    commerce::Bind(request);
    session.Finish();
    return static_cast<Datum>(0);
}

// unbind(name) → was there such a binding?
IL_FUNCTION(inventory_lock_unbind) {
    const Arguments arguments(fcinfo);
    RequireWritable("unbind()");
    const std::string name = arguments.Text(0, "name");
    commerce::Session session;
    const bool existed = commerce::Unbind(name);
    session.Finish();
    return BoolGetDatum(existed);
}

// check_binding(name) → (severity, table_name, message, hint)
IL_FUNCTION(inventory_lock_check_binding) {
    const Arguments arguments(fcinfo);
    const std::string name = arguments.Text(0, "name");
    commerce::Session session;
    Result result(fcinfo);
    for (const commerce::Finding &finding : commerce::CheckBinding(name)) {
        Row row;
        row.Text(finding.error ? "error" : "warning");
        if (finding.table.empty()) {
            row.Null();
        } else {
            row.Text(finding.table);
        }
        row.Text(finding.message);
        if (finding.hint.empty()) {
            row.Null();
        } else {
            row.Text(finding.hint);
        }
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

// The catalogue of bindings has changed: all backends read it again, ours at the next command.
IL_FUNCTION(inventory_lock_binding_changed) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        throw pg::SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                           "binding_changed must be called as a trigger");
    }
    const Relation catalogue = reinterpret_cast<TriggerData *>(fcinfo->context)->tg_relation;
    pg::Call([catalogue] { CacheInvalidateRelcache(catalogue); });
    return PointerGetDatum(nullptr);
}

}  // namespace inventory_lock::api
