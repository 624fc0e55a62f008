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

}  // namespace inventory_lock::commerce
