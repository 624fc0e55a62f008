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

// A scan for one pair of values after the other. Plain data: an ERROR leaves what is open to the
// resource owner.
struct DirectScan {
    Relation tree;
    IndexScanDesc scan;
    ScanKeyData keys[2];
    int count;  // of keys
};

void BeginScan(Relation relation, const DirectIndex &index, int count, DirectScan *scan);
void EndScan(DirectScan *scan);

// Calls `row` with each row of these values that the active snapshot sees, until it answers false.
template <typename OnRow>
void ScanDirectly(DirectScan *scan, const Datum *values, TupleTableSlot *slot, OnRow row) {
    for (int i = 0; i < scan->count; i++) {
        scan->keys[i].sk_argument = values[i];
    }
    index_rescan(scan->scan, scan->keys, scan->count, nullptr, 0);
    while (index_getnext_slot(scan->scan, ForwardScanDirection, slot) && row()) {
    }
}

// Makes a snapshot active as a statement that begins now would have: with what has been committed
// until now (at READ COMMITTED), and our own changes. PopActiveSnapshot() ends it.
void PushStatementSnapshot();

// The transaction that made this version of a row.
TransactionId XminOf(TupleTableSlot *row);

// Would a statement that begins now see a row with these values?
bool RowExists(Oid relation, const DirectIndex &index, const Datum *values, int count);

}  // namespace inventory_lock::commerce
