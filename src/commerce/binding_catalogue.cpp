// Writes the catalogue of bindings: see binding_catalogue.hpp. Runs in: backends.

#include "commerce/binding_catalogue.hpp"

extern "C" {
#include <catalog/namespace.h>
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

}  // namespace inventory_lock::commerce
