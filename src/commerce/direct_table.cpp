// Writes rows without plans: see direct_table.hpp.

#include "commerce/direct_table.hpp"

#include "commerce/direct_index.hpp"

extern "C" {
#include <access/amapi.h>
#include <access/genam.h>
#include <access/table.h>
#include <access/transam.h>
#include <access/xact.h>
#include <catalog/index.h>
#include <catalog/pg_am.h>
#include <catalog/pg_constraint.h>
#include <catalog/pg_trigger.h>
#include <commands/trigger.h>
#include <executor/executor.h>
#include <optimizer/optimizer.h>
#include <rewrite/rewriteHandler.h>
#include <utils/datum.h>
#include <utils/lsyscache.h>
#include <utils/memutils.h>
#include <utils/relcache.h>
#include <utils/snapmgr.h>
#include <utils/syscache.h>
}

namespace inventory_lock::commerce {

// Everything lies in `context`. What belongs to one transaction (relations, tuple slots) is set for
// the time of one row only, or while the table is kept open.
struct DirectTable {
    MemoryContext context;
    Oid relation;
    EState *estate;
    ResultRelInfo *result;  // its relations are open while a row is written
    Oid *indexes;           // of result->ri_IndexRelationInfo
    ExprState **defaults;   // by column; nullptr: NULL
    // It has foreign keys. Those of a row that this transaction has made may not have been checked
    // yet, and would be for its newest version only, for which nobody asks here.
    bool has_keys;
    bool writing;   // rows, or an ERROR has ended that
    Relation kept;  // while it is kept open
    TupleTableSlot *kept_row;
};

namespace {

bool IsUsersFunction(Oid function, void *) {
    return function >= FirstNormalObjectId;
}

// Does the expression run functions that are not PostgreSQL's own, which might do anything?
bool RunsUsersCode(Node *node, void *context) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, CoerceToDomain) || check_functions_in_node(node, IsUsersFunction, context)) {
        return true;
    }
    return pg::WalkExpression(node, RunsUsersCode, context);
}

// The columns of a foreign key and those that it points at.
struct ForeignKey {
    int count = 0;
    AttrNumber columns[INDEX_MAX_KEYS];
    AttrNumber parent_columns[INDEX_MAX_KEYS];
};

ForeignKey ReadForeignKey(Oid constraint_id) {
    ForeignKey key;
    const HeapTuple constraint = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint_id));
    if (HeapTupleIsValid(constraint)) {
        DeconstructFkConstraintRow(constraint, &key.count, key.columns, key.parent_columns, nullptr,
                                   nullptr, nullptr, nullptr, nullptr);
        ReleaseSysCache(constraint);
    }
    return key;
}

bool ShareAny(const AttrNumber *a, int a_count, const AttrNumber *b, int b_count) {
    return std::any_of(a, a + a_count, [=](AttrNumber number) {
        return std::find(b, b + b_count, number) != b + b_count;
    });
}

// Which rows a DirectTable is for.
struct Writing {
    DirectOperation operation;
    const AttrNumber *columns;
    int count;
    const SatisfiedKey *key;
};

// Does this trigger do nothing for such rows? It is the check of a foreign key that holds anyway,
// or whose columns stay as they are.
bool IsIdle(const Trigger &trigger, const Writing &writing) {
    const int type = RI_FKey_trigger_type(trigger.tgfoid);
    if (type == RI_TRIGGER_NONE) {
        return false;
    }
    const ForeignKey found = ReadForeignKey(trigger.tgconstraint);
    if (writing.operation == DirectOperation::kUpdate) {
        return found.count > 0 &&
               !ShareAny(type == RI_TRIGGER_PK ? found.parent_columns : found.columns, found.count,
                         writing.columns, writing.count);
    }
    return writing.key != nullptr && type == RI_TRIGGER_FK &&
           trigger.tgconstrrelid == writing.key->parent && found.count == 1 &&
           found.columns[0] == writing.key->column &&
           found.parent_columns[0] == writing.key->parent_column;
}

bool HasTriggers(const TriggerDesc *triggers, const Writing &writing) {
    const int event =
        writing.operation == DirectOperation::kInsert ? TRIGGER_TYPE_INSERT : TRIGGER_TYPE_UPDATE;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const Trigger &trigger = triggers->triggers[i];
        if ((trigger.tgtype & event) != 0 && !IsIdle(trigger, writing)) {
            return true;
        }
    }
    return false;
}

bool IsPlain(Relation relation, const Writing &writing) {
    if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relispartition ||
        relation->rd_rules != nullptr || relation->rd_tableam != GetHeapamTableAmRoutine() ||
        HasTriggers(relation->trigdesc, writing)) {
        return false;
    }
    const TupleDesc columns = RelationGetDescr(relation);
    for (int i = 0; i < columns->natts; i++) {
        if (TupleDescAttr(columns, i)->attgenerated != '\0') {
            return false;
        }
    }
    const TupleConstr *const constraints = columns->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; i++) {
        auto *const expression = static_cast<Node *>(stringToNode(constraints->check[i].ccbin));
        if (RunsUsersCode(expression, nullptr)) {
            return false;
        }
    }
    return true;
}

bool IsPlainIndex(Relation index) {
    if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indimmediate ||
        index->rd_index->indisexclusion ||
        RunsUsersCode(reinterpret_cast<Node *>(RelationGetIndexExpressions(index)), nullptr) ||
        RunsUsersCode(reinterpret_cast<Node *>(RelationGetIndexPredicate(index)), nullptr)) {
        return false;
    }
    const int functions = IndexRelationGetNumberOfKeyAttributes(index) * index->rd_indam->amsupport;
    for (int i = 0; i < functions; i++) {
        if (index->rd_support[i] >= FirstNormalObjectId) {
            return false;
        }
    }
    return true;
}

// False when one of them has to be written by the executor.
bool PrepareIndexes(Relation relation, DirectTable *table) {
    List *const oids = RelationGetIndexList(relation);
    const auto count = static_cast<size_t>(list_length(oids));
    ResultRelInfo *const result = table->result;
    table->indexes = static_cast<Oid *>(palloc0(sizeof(Oid) * (count + 1)));
    result->ri_IndexRelationDescs =
        static_cast<RelationPtr>(palloc0(sizeof(Relation) * (count + 1)));
    result->ri_IndexRelationInfo =
        static_cast<IndexInfo **>(palloc0(sizeof(IndexInfo *) * (count + 1)));
    bool plain = true;
    for (int i = 0; i < list_length(oids) && plain; i++) {
        const Relation index = index_open(list_nth_oid(oids, i), AccessShareLock);
        plain = IsPlainIndex(index);
        table->indexes[i] = RelationGetRelid(index);
        result->ri_IndexRelationInfo[i] = BuildIndexInfo(index);
        index_close(index, NoLock);
    }
    result->ri_NumIndices = list_length(oids);
    return plain;
}

// False when a default is the user's code.
bool PrepareDefaults(Relation relation, DirectTable *table, const Writing &writing) {
    const TupleDesc columns = RelationGetDescr(relation);
    table->defaults = static_cast<ExprState **>(
        palloc0(sizeof(ExprState *) * static_cast<size_t>(columns->natts + 1)));
    for (int i = 0; i < columns->natts; i++) {
        const auto number = static_cast<AttrNumber>(i + 1);
        const bool is_given = TupleDescAttr(columns, i)->attisdropped ||
                              ShareAny(&number, 1, writing.columns, writing.count);
        Node *const expression = is_given ? nullptr : build_column_default(relation, i + 1);
        const bool is_null = !is_given && expression == nullptr;
        if (RunsUsersCode(expression, nullptr) ||
            (is_null && get_typtype(TupleDescAttr(columns, i)->atttypid) == TYPTYPE_DOMAIN)) {
            return false;  // a domain may refuse NULL
        }
        if (expression != nullptr) {
            table->defaults[i] =
                ExecInitExpr(expression_planner(reinterpret_cast<Expr *>(expression)), nullptr);
        }
    }
    return true;
}

void OpenIndexes(DirectTable *table) {
    for (int i = 0; i < table->result->ri_NumIndices; i++) {
        table->result->ri_IndexRelationDescs[i] = index_open(table->indexes[i], RowExclusiveLock);
    }
}

// They stay locked until the transaction ends, as the table does: more rows may follow.
void CloseIndexes(DirectTable *table) {
    for (int i = 0; i < table->result->ri_NumIndices; i++) {
        index_close(table->result->ri_IndexRelationDescs[i], NoLock);
    }
}

// Opens what writing a row needs, and gives the row's slots back at its end. An ERROR leaves that
// to the resource owner and the memory context; the next row begins anew.
class OpenTable final {
  public:
    explicit OpenTable(DirectTable *table) : table_(table) {
        CHECK_FOR_INTERRUPTS();  // thousands of rows may be written one after the other
        table->writing = true;
        ResetPerTupleExprContext(table->estate);
        outer_ = MemoryContextSwitchTo(GetPerTupleMemoryContext(table->estate));
        if (table->kept != nullptr) {
            relation_ = table->kept;
            row_ = table->kept_row;
            return;
        }
        relation_ = table_open(table->relation, NoLock);
        table->result->ri_RelationDesc = relation_;
        row_ = MakeSingleTupleTableSlot(RelationGetDescr(relation_), &TTSOpsVirtual);
    }
    OpenTable(const OpenTable &) = delete;
    OpenTable &operator=(const OpenTable &) = delete;

    Relation relation() const { return relation_; }
    TupleTableSlot *row() const { return row_; }

    // Completes the row, whose other values are there already, and checks it.
    void Fill(const DirectValue *values, int count) {
        for (int i = 0; i < count; i++) {
            row_->tts_values[values[i].number - 1] = values[i].value;
            row_->tts_isnull[values[i].number - 1] = values[i].is_null;
        }
        ExecStoreVirtualTuple(row_);
        row_->tts_tableOid = table_->relation;
        if (RelationGetDescr(relation_)->constr != nullptr) {
            ExecConstraints(table_->result, row_, table_->estate);
        }
    }

    void WriteIndexes(bool update) {
        if (table_->result->ri_NumIndices == 0) {
            return;
        }
        if (table_->kept == nullptr) {
            OpenIndexes(table_);
        }
        (void)pg::InsertIndexTuples(table_->result, row_, table_->estate, update);
        if (table_->kept == nullptr) {
            CloseIndexes(table_);
        }
    }

    void Close() {
        MemoryContextSwitchTo(outer_);
        if (table_->kept != nullptr) {
            ExecClearTuple(row_);
        } else {
            ExecDropSingleTupleTableSlot(row_);
            table_close(relation_, NoLock);
            table_->writing = false;
        }
        // Statements that follow are to see the row.
        CommandCounterIncrement();
    }

    MemoryContext outer() const { return outer_; }

  private:
    DirectTable *table_;
    MemoryContext outer_;
    Relation relation_;
    TupleTableSlot *row_;
};

}  // namespace

DirectTable *PrepareDirectTable(Oid relation_id, DirectOperation operation, const AttrNumber *given,
                                int given_count, const SatisfiedKey *key) {
    const MemoryContext context = AllocSetContextCreate(
        CurrentMemoryContext, "inventory_lock direct writes", ALLOCSET_SMALL_SIZES);
    const MemoryContext outer = MemoryContextSwitchTo(context);
    const Relation relation = table_open(relation_id, NoLock);
    auto *table = static_cast<DirectTable *>(palloc0(sizeof(DirectTable)));
    table->context = context;
    table->relation = relation_id;
    const Writing writing = {operation, given, given_count, key};
    bool plain = IsPlain(relation, writing);
    if (plain) {
        table->estate = CreateExecutorState();
        MemoryContextSwitchTo(table->estate->es_query_cxt);
        table->result = makeNode(ResultRelInfo);
        InitResultRelInfo(table->result, relation, 0, nullptr, 0);
        table->has_keys =
            relation->trigdesc != nullptr &&
            std::any_of(relation->trigdesc->triggers,
                        relation->trigdesc->triggers + relation->trigdesc->numtriggers,
                        [](const Trigger &trigger) {
                            return RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_FK;
                        });
        plain = PrepareIndexes(relation, table) && (operation == DirectOperation::kUpdate ||
                                                    PrepareDefaults(relation, table, writing));
    }
    table_close(relation, NoLock);
    MemoryContextSwitchTo(outer);
    if (!plain) {
        MemoryContextDelete(context);
        return nullptr;
    }
    MemoryContextSetParent(context, TopMemoryContext);
    return table;
}

void FreeDirectTable(DirectTable *table) {
    MemoryContextDelete(table->context);
}

bool IsInterrupted(const DirectTable *table) {
    return table != nullptr && table->writing;
}

void KeepTableOpen(DirectTable *table) {
    table->writing = true;
    table->kept = table_open(table->relation, NoLock);
    table->result->ri_RelationDesc = table->kept;
    table->kept_row = MakeSingleTupleTableSlot(RelationGetDescr(table->kept), &TTSOpsVirtual);
    OpenIndexes(table);
}

void LetTableGo(DirectTable *table) {
    CloseIndexes(table);
    ExecDropSingleTupleTableSlot(table->kept_row);
    table_close(table->kept, NoLock);
    table->kept = nullptr;
    table->writing = false;
}

bool UpdateDirectly(DirectTable *table, const RowVersion &version, const DirectValue *values,
                    int count) {
    OpenTable open(table);
    const Relation relation = open.relation();
    CheckCmdReplicaIdentity(relation, CMD_UPDATE);
    TupleTableSlot *const before = table_slot_create(relation, nullptr);
    ItemPointerData tid = version.tid;
    // The slot keeps the version where it is until it has been replaced. One that this transaction
    // has replaced already (a trigger of another table, say) is not seen.
    bool done = table_tuple_fetch_row_version(relation, &tid, SnapshotSelf, before) &&
                XminOf(before) == version.xmin &&
                !(table->has_keys && TransactionIdIsCurrentTransactionId(version.xmin));
    if (done) {
        slot_getallattrs(before);
        TupleTableSlot *const row = open.row();
        const auto columns = static_cast<size_t>(RelationGetDescr(relation)->natts);
        memcpy(row->tts_values, before->tts_values, columns * sizeof(Datum));
        memcpy(row->tts_isnull, before->tts_isnull, columns * sizeof(bool));
        open.Fill(values, count);
        bool moved = false;  // to a place that the indexes do not know
        done = pg::UpdateTuple(relation, &tid, row, GetCurrentCommandId(true), &moved) == TM_Ok;
        if (done && moved) {
            open.WriteIndexes(true);
        }
    }
    ExecDropSingleTupleTableSlot(before);
    open.Close();
    return done;
}

void InsertDirectly(DirectTable *table, const DirectValue *values, int count, DirectValue *returned,
                    int returned_count) {
    OpenTable open(table);
    const Relation relation = open.relation();
    TupleTableSlot *const row = open.row();
    const TupleDesc columns = RelationGetDescr(relation);
    for (int i = 0; i < columns->natts; i++) {
        row->tts_isnull[i] = true;
        row->tts_values[i] = 0;
        if (ExprState *const value = table->defaults[i]) {
            row->tts_values[i] =
                ExecEvalExpr(value, GetPerTupleExprContext(table->estate), &row->tts_isnull[i]);
        }
    }
    open.Fill(values, count);
    table_tuple_insert(relation, row, GetCurrentCommandId(true), 0, nullptr);
    open.WriteIndexes(false);
    const MemoryContext own = MemoryContextSwitchTo(open.outer());
    for (DirectValue *value = returned; value != returned + returned_count; value++) {
        const int i = value->number - 1;
        const Form_pg_attribute column = TupleDescAttr(columns, i);
        value->is_null = row->tts_isnull[i];
        value->value =
            value->is_null ? 0 : datumCopy(row->tts_values[i], column->attbyval, column->attlen);
    }
    MemoryContextSwitchTo(own);
    open.Close();
}

}  // namespace inventory_lock::commerce
