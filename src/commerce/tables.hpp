// create_tables: ordinary tables for a shop that has none yet, and their binding.
//
// Runs in: backends. The tables belong to the caller, not to the extension: DROP EXTENSION leaves
// them, pg_dump carries them. Therefore nothing in them depends on the extension; the trigger that
// keeps the ledger append-only has its function beside it, in the same schema.

#pragma once

#include "commerce/binding.hpp"

namespace inventory_lock::commerce {

// Creates what is missing in the schema and binds it as "default". 42710 when the default binding
// is about another schema, 42501 and 42723 for what is there already and may not be adopted.
void CreateTables(const std::string &schema);

// Makes `<table>_outbox` and `<table>_outbox_consumer` beside the stock table of a binding that has
// no outbox, and adds them to it; an outbox that is there already is added instead. Throws IL050,
// IL051, 42501 unless the caller owns the stock table.
void CreateOutbox(const std::string &name);

// The outbox that is there already for this stock table, qualified; empty when there is none.
std::string FindOutbox(Oid stock_level);

// What a shop's tables lack, beside its stock table: `<stock table>_<role>`, made when it is not
// there yet. The types are SQL texts.
Oid CreateSideTable(Oid stock_level, TableId id, const std::string &variant_type,
                    const std::string &location_type);

}  // namespace inventory_lock::commerce
