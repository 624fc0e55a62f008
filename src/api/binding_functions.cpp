// SQL functions over bindings.
//
// Runs in: backends.

#include "api/arguments.hpp"
#include "commerce/binding.hpp"
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
