// Writes the catalogue of bindings: see binding_catalogue.hpp. Runs in: backends.

#include "commerce/binding_catalogue.hpp"

#include "commerce/sql_text.hpp"

extern "C" {
#include <catalog/namespace.h>
#include <catalog/pg_type.h>
#include <miscadmin.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>
}

namespace inventory_lock::commerce {

Rows RunAsCatalogueOwner(const char *sql, const std::vector<Oid> &types, const Params &params) {
    const Oid owner = pg::Call([] {
        const Oid schema = get_namespace_oid("inventory_lock", false);
        const Oid relation = get_relname_relid("binding", schema);
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
        if (!HeapTupleIsValid(tuple)) {
            elog(ERROR, "relation inventory_lock.binding does not exist");
        }
        const Oid result = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
        ReleaseSysCache(tuple);
        return result;
    });
    Oid caller;
    int context;
    GetUserIdAndSecContext(&caller, &context);
    // An ERROR below ends the (sub)transaction, which restores the caller's identity.
    SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE);
    const Rows rows = RunOnce(sql, types, params);
    SetUserIdAndSecContext(caller, context);
    return rows;
}

void CheckOwner(Oid relation) {
    Params params;
    params.Value(ObjectIdGetDatum(relation));
    const Rows rows = RunOnce(
        "SELECT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class"
        " WHERE oid OPERATOR(pg_catalog.=) $1",
        {OIDOID}, params);
    if (rows.empty() || !rows.Bool(0, 0)) {
        throw pg::SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                           "must be owner of table " + RelationName(relation));
    }
}

}  // namespace inventory_lock::commerce
