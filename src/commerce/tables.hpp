// create_tables: ordinary tables for a shop that has none yet, and their binding.
//
// Runs in: backends. The tables belong to the caller, not to the extension: DROP EXTENSION leaves
// them, pg_dump carries them. Therefore nothing in them depends on the extension; the trigger that
// keeps the ledger append-only has its function beside it, in the same schema.

#pragma once

#include <string>

namespace inventory_lock::commerce {

// Creates what is missing in the schema and binds it as "default". 42710 when the default binding
// is about another schema.
void CreateTables(const std::string &schema);

}  // namespace inventory_lock::commerce
