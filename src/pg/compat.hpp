// The bridge between PostgreSQL versions: the only file that looks at PG_VERSION_NUM.
//
// Runs in: every process. The newest name is written everywhere else and defined here for older
// servers. Each block says what changed and since when.

#pragma once

extern "C" {
#include <access/genam.h>
#include <access/tableam.h>
#include <executor/executor.h>
#include <nodes/nodeFuncs.h>
#include <pgstat.h>
#include <storage/proc.h>
#include <utils/wait_event.h>
}

#if PG_VERSION_NUM < 150000
#error "inventory_lock needs PostgreSQL 15 or newer"
#endif

namespace inventory_lock::pg {

// The index of this process in the array of PGPROCs: stable for its lifetime, reused at once
// afterwards. 17 renamed it to ProcNumber and moved it out of PGPROC.
inline int MyProcIndex() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyProc->pgprocno;
#endif
}

// Reserves the settings' prefix (the name EmitWarningsOnPlaceholders is the older one).
inline void ReserveSettingsPrefix(const char *prefix) {
    MarkGUCPrefixReserved(prefix);
}

// Custom wait events exist since 17; before, all extensions share one.
inline uint32 NewWaitEvent([[maybe_unused]] const char *name) {
#if PG_VERSION_NUM >= 170000
    return WaitEventExtensionNew(name);
#else
    return PG_WAIT_EXTENSION;
#endif
}

// CreateWaitEventSet takes a resource owner since 17 (none: lives as long as the session).
inline WaitEventSet *NewWaitEventSet(int events) {
#if PG_VERSION_NUM >= 170000
    return CreateWaitEventSet(nullptr, events);
#else
    return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

// index_beginscan takes a place for statistics since 18.
inline IndexScanDesc BeginIndexScan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

// Replaces a row by the one in `slot`, once nobody else has it; *moved: indexes need the new one.
// table_tuple_update says by an enumeration since 16 which of them do.
inline TM_Result UpdateTuple(Relation table, ItemPointer tid, TupleTableSlot *slot,
                             CommandId command, bool *moved) {
    TM_FailureData failure;
    LockTupleMode mode;
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes indexes = TU_None;
    const TM_Result result = table_tuple_update(table, tid, slot, command, InvalidSnapshot,
                                                InvalidSnapshot, true, &failure, &mode, &indexes);
    *moved = indexes != TU_None;
#else
    const TM_Result result = table_tuple_update(table, tid, slot, command, InvalidSnapshot,
                                                InvalidSnapshot, true, &failure, &mode, moved);
#endif
    return result;
}

// expression_tree_walker declares its callback's parameters since 16.
inline bool WalkExpression(Node *node, bool (*walker)(Node *, void *), void *context) {
#if PG_VERSION_NUM >= 160000
    return expression_tree_walker(node, walker, context);
#else
    return expression_tree_walker(
        node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

// ExecInsertIndexTuples can leave all but summarizing indexes out since 16.
inline List *InsertIndexTuples(ResultRelInfo *result, TupleTableSlot *slot, EState *estate,
                               bool update) {
#if PG_VERSION_NUM >= 160000
    return ExecInsertIndexTuples(result, slot, estate, update, false, nullptr, NIL, false);
#else
    return ExecInsertIndexTuples(result, slot, estate, update, false, nullptr, NIL);
#endif
}

}  // namespace inventory_lock::pg

// The library's magic block. Since 18 it can carry the name and the version, which
// pg_get_loaded_modules() shows.
#if PG_VERSION_NUM >= 180000
#define IL_MODULE_MAGIC(module, number) PG_MODULE_MAGIC_EXT(.name = (module), .version = (number))
#else
#define IL_MODULE_MAGIC(module, number) PG_MODULE_MAGIC
#endif
