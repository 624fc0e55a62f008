// Finds rows by an index: see direct_index.hpp.

#include "commerce/direct_index.hpp"

extern "C" {
#include <access/htup_details.h>
#include <access/sysattr.h>
#include <access/table.h>
#include <access/xact.h>
#include <catalog/pg_am.h>
#include <commands/defrem.h>
#include <executor/tuptable.h>
#include <utils/lsyscache.h>
#include <utils/relcache.h>
#include <utils/snapmgr.h>
}

namespace inventory_lock::commerce {

namespace {

// Does this column of the index find what `=` finds in the table's column? Fills the key if so.
bool Serves(Relation relation, Relation index, int column, AttrNumber number,
            DirectIndex::Key *key) {
    if (column >= index->rd_index->indnkeyatts ||
        index->rd_index->indkey.values[column] != number) {
        return false;
    }
    const Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), number - 1);
    const Oid collation = attribute->attcollation;
    const Oid opclass = GetDefaultOpClass(getBaseType(attribute->atttypid), BTREE_AM_OID);
    if (!OidIsValid(opclass) || index->rd_opfamily[column] != get_opclass_family(opclass) ||
        index->rd_indcollation[column] != collation ||
        (OidIsValid(collation) && !get_collation_isdeterministic(collation))) {
        return false;
    }
    const Oid type = get_opclass_input_type(opclass);
    key->type = type;
    key->collation = collation;
    key->equal = get_opcode(
        get_opfamily_member(index->rd_opfamily[column], type, type, BTEqualStrategyNumber));
    return true;
}

}  // namespace

DirectIndex FindDirectIndex(Relation relation, AttrNumber first, AttrNumber second) {
    DirectIndex best;
    ListCell *cell;
    List *const indexes = RelationGetIndexList(relation);
    foreach (cell, indexes) {
        const Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        DirectIndex::Key keys[2] = {};
        if (index->rd_index->indisvalid && !index->rd_index->indcheckxmin &&
            index->rd_rel->relam == BTREE_AM_OID &&
            heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) &&
            Serves(relation, index, 0, first, &keys[0])) {
            const bool both =
                second != InvalidAttrNumber && Serves(relation, index, 1, second, &keys[1]);
            if (both || !OidIsValid(best.oid)) {
                best.oid = RelationGetRelid(index);
                best.second = both;
                memcpy(best.keys, keys, sizeof(keys));
            }
        }
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return best;
}

void BeginScan(Relation relation, const DirectIndex &index, int count, DirectScan *scan) {
    for (int i = 0; i < count; i++) {
        const DirectIndex::Key &key = index.keys[i];
        ScanKeyEntryInitialize(&scan->keys[i], 0, static_cast<AttrNumber>(i + 1),
                               BTEqualStrategyNumber, key.type, key.collation, key.equal, 0);
    }
    scan->count = count;
    scan->tree = index_open(index.oid, AccessShareLock);
    scan->scan = pg::BeginIndexScan(relation, scan->tree, GetActiveSnapshot(), count);
}

void EndScan(DirectScan *scan) {
    index_endscan(scan->scan);
    index_close(scan->tree, NoLock);
}

void PushStatementSnapshot() {
    CommandCounterIncrement();
    PushCopiedSnapshot(GetTransactionSnapshot());
    UpdateActiveSnapshotCommandId();
}

TransactionId XminOf(TupleTableSlot *row) {
    bool is_null;
    return DatumGetTransactionId(slot_getsysattr(row, MinTransactionIdAttributeNumber, &is_null));
}

bool RowExists(Oid relation_id, const DirectIndex &index, const Datum *values, int count) {
    const Relation relation = table_open(relation_id, NoLock);
    TupleTableSlot *const slot = table_slot_create(relation, nullptr);
    PushStatementSnapshot();
    bool found = false;
    DirectScan scan;
    BeginScan(relation, index, count, &scan);
    ScanDirectly(&scan, values, slot, [&found] {
        found = true;
        return false;
    });
    EndScan(&scan);
    PopActiveSnapshot();
    ExecDropSingleTupleTableSlot(slot);
    table_close(relation, NoLock);
    return found;
}

}  // namespace inventory_lock::commerce
