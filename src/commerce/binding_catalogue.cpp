// Writes the catalogue of bindings: see binding_catalogue.hpp. Runs in: backends.

#include "commerce/binding_catalogue.hpp"

#include "commerce/sql_text.hpp"

extern "C" {
#include <catalog/namespace.h>
#include <catalog/pg_type.h>
#include <miscadmin.h>
#include <utils/acl.h>
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

namespace {

Oid AskOwner(const char *sql, Oid object) {
    Params params;
    params.Value(ObjectIdGetDatum(object));
    const Rows rows = RunOnce(sql, {OIDOID}, params);
    return rows.empty() ? InvalidOid : static_cast<Oid>(rows.Int8(0, 0));
}

}  // namespace

Oid OwnerOfSchema(Oid schema) {
    return AskOwner(
        "SELECT nspowner::pg_catalog.int8 FROM pg_catalog.pg_namespace"
        " WHERE oid OPERATOR(pg_catalog.=) $1",
        schema);
}

Oid OwnerOfTable(Oid relation) {
    return AskOwner(
        "SELECT relowner::pg_catalog.int8 FROM pg_catalog.pg_class"
        " WHERE oid OPERATOR(pg_catalog.=) $1",
        relation);
}

bool MayAdopt(Oid owner, Oid trusted) {
    return pg::Call([=] {
        if (!superuser()) {
            return has_privs_of_role(GetUserId(), owner);
        }
        return superuser_arg(owner) || is_member_of_role_nosuper(GetUserId(), owner) ||
               is_member_of_role_nosuper(owner, trusted);
    });
}

void CheckAdopted(Oid relation, Oid trusted) {
    CheckOwner(relation);
    if (!MayAdopt(OwnerOfTable(relation), trusted)) {
        throw pg::SqlError(
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "table " + RelationName(relation) + " belongs to somebody else",
            "Its owner can have code in it, which would run as whoever writes to it.",
            "Drop it, or let its owner be a role that you trust.");
    }
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
