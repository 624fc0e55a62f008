// Writes to inventory_lock.binding, the catalogue of bindings.
//
// Runs in: backends. The catalogue belongs to the extension's owner; whoever may call the
// functions that bind tables may write it through them, and in no other way.

#pragma once

#include "commerce/spi.hpp"

namespace inventory_lock::commerce {

// Runs one statement of ours with the rights of the catalogue's owner. Its text and types are
// constants of the caller; what users gave comes in the parameters.
Rows RunAsCatalogueOwner(const char *sql, const std::vector<Oid> &types, const Params &params);

// 42501 unless the table is the caller's.
void CheckOwner(Oid relation);

Oid OwnerOfSchema(Oid schema);
Oid OwnerOfTable(Oid relation);

// Whether something that is there already may be put to use without having been named by the
// caller. Its owner can have code in it, which runs as whoever uses it. So it must be the caller's;
// a superuser, to whom everything belongs, takes only his own, that of another superuser, and that
// of `trusted`, whose schema or table he has named.
bool MayAdopt(Oid owner, Oid trusted);

// 42501 unless the table may be.
void CheckAdopted(Oid relation, Oid trusted);

}  // namespace inventory_lock::commerce
