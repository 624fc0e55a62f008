// Writes rows of one table without the executor's plans.
//
// Runs in: backends, while an SPI Session is open. An INSERT or UPDATE of one row spends most of
// its time on starting a plan: constraints and defaults are read from their stored form, indexes
// looked up, once for every statement. Here that is made ready once, in a memory context of its
// own, and used until something about the table changes. The rows themselves are written by the
// functions that the executor uses (ExecConstraints, table_tuple_update, ExecInsertIndexTuples),
// with the same errors.
//
// Only for tables where no user's code can run: no triggers for the operation, rules or generated
// columns; constraints, defaults and indexes of PostgreSQL's own functions; B-tree indexes; no
// partition. Privileges and row level security are the caller's business.

#pragma once

#include "commerce/stock_level.hpp"

extern "C" {
#include <access/tableam.h>
#include <utils/rel.h>
}

namespace inventory_lock::commerce {

struct DirectTable;

enum class DirectOperation : uint8 { kInsert, kUpdate };

// One column's value to write.
struct DirectValue {
    AttrNumber number;
    Datum value;
    bool is_null;
};

// A foreign key that every new row satisfies anyway, because this transaction has added the row it
// points at: `column` names a row of `parent` by its `parent_column`. It is not checked.
struct SatisfiedKey {
    AttrNumber column;
    Oid parent;
    AttrNumber parent_column;
};

// All functions below may raise: call them inside pg::Call(). The table must be locked.

// Makes a table ready; nullptr when rows of it have to be written by a statement. For kInsert:
// `given` are the columns that every row brings, others get their default; `key` may be nullptr.
DirectTable *PrepareDirectTable(Oid relation, DirectOperation operation, const AttrNumber *given,
                                int given_count, const SatisfiedKey *key);
void FreeDirectTable(DirectTable *table);

// An ERROR ended the writing of a row: what had been made ready may be half done. Make it anew.
// False for nullptr.
bool IsInterrupted(const DirectTable *table);

// Keeps a table and its indexes open from one row to the next, until LetTableGo(). An ERROR in
// between counts as one in the writing of a row. No statement must be run meanwhile.
void KeepTableOpen(DirectTable *table);
void LetTableGo(DirectTable *table);

// Changes columns of a row. Waits for whoever else has locked it, as UPDATE does (lock_timeout).
// False, and nothing done, when that is not its newest version any more.
bool UpdateDirectly(DirectTable *table, const RowVersion &version, const DirectValue *values,
                    int count);

// Adds a row; raises as INSERT does. Fills in the values of the columns that `returned` names, in
// the memory context of the caller.
void InsertDirectly(DirectTable *table, const DirectValue *values, int count, DirectValue *returned,
                    int returned_count);

}  // namespace inventory_lock::commerce
