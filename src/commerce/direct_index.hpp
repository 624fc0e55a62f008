// Finds rows by a B-tree index without the executor.
//
// Runs in: backends, while an SPI Session is open. What a statement with `first = $1 [AND second =
// $2]` does, less the start and the end of its plan. An index serves when it holds all rows, begins
// with the column and compares as `=` does.

#pragma once

#include "commerce/binding.hpp"

extern "C" {
#include <access/genam.h>
#include <access/stratnum.h>
#include <access/table.h>
#include <access/tableam.h>
#include <utils/rel.h>
#include <utils/snapmgr.h>
}

namespace inventory_lock::commerce {

// The best index for these columns: preferably one that goes on with the second (which may be
// InvalidAttrNumber). It stays usable while the table is locked: whoever drops it waits for us.
// May raise: call it inside pg::Call(); as all below.
DirectIndex FindDirectIndex(Relation relation, AttrNumber first, AttrNumber second);

// Calls `row` with each row that the active snapshot sees, until it answers false.
template <typename OnRow>
void ScanDirectly(Relation relation, const DirectIndex &index, const Datum *values, int count,
                  TupleTableSlot *slot, OnRow row) {
    ScanKeyData keys[2];
    for (int i = 0; i < count; i++) {
        const DirectIndex::Key &key = index.keys[i];
        ScanKeyEntryInitialize(&keys[i], 0, static_cast<AttrNumber>(i + 1), BTEqualStrategyNumber,
                               key.type, key.collation, key.equal, values[i]);
    }
    const Relation tree = index_open(index.oid, AccessShareLock);
    const IndexScanDesc scan = pg::BeginIndexScan(relation, tree, GetActiveSnapshot(), count);
    index_rescan(scan, keys, count, nullptr, 0);
    while (index_getnext_slot(scan, ForwardScanDirection, slot) && row()) {
    }
    index_endscan(scan);
    index_close(tree, NoLock);
}

// Makes a snapshot active as a statement that begins now would have: with what has been committed
// until now (at READ COMMITTED), and our own changes. PopActiveSnapshot() ends it.
void PushStatementSnapshot();

// The transaction that made this version of a row.
TransactionId XminOf(TupleTableSlot *row);

// Would a statement that begins now see a row with these values?
bool RowExists(Oid relation, const DirectIndex &index, const Datum *values, int count);

}  // namespace inventory_lock::commerce
