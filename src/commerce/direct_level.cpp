// Finds and locks a row without the executor: see direct_level.hpp.

#include "commerce/direct_level.hpp"

#include "commerce/direct_index.hpp"

extern "C" {
#include <access/tableam.h>
#include <access/xact.h>
#include <catalog/pg_type.h>
#include <executor/executor.h>
#include <utils/builtins.h>
#include <utils/rel.h>
#include <utils/snapmgr.h>
}

namespace inventory_lock::commerce {

namespace {

// The columns that are read, in the order of LevelAccess::columns.
constexpr const char *kRoleOf[LevelAccess::kColumns] = {
    "location_id",         "on_hand", "held",  "safety_stock", "backorder_limit",
    "low_stock_threshold", "version", "fence", "product_id"};
enum ColumnNumber {
    kLocation,
    kOnHand,
    kHeld,
    kSafetyStock,
    kBackorderLimit,
    kLowStock,
    kVersion,
    kFence,
    kProduct
};

bool IsInteger(Oid type) {
    return type == INT8OID || type == INT4OID || type == INT2OID;
}
bool IsString(Oid type) {
    return type == TEXTOID || type == VARCHAROID;
}

// Is everything that is read in the row itself? A virtual generated column (since 18) is not: the
// executor computes it.
bool AllStored(Relation relation, const LevelAccess &access) {
    for (const ColumnPlace &place : access.columns) {
        if (place.number != InvalidAttrNumber &&
            TupleDescAttr(RelationGetDescr(relation), place.number - 1)->attgenerated == 'v') {
            return false;
        }
    }
    return true;
}

// Decides whether this table's rows can be found here.
LevelAccess FindAccess(const Binding &binding) {
    LevelAccess access;
    access.known = true;
    const Column &variant = binding.column(TableId::kStockLevel, "variant_id");
    if (binding.find(TableId::kStockLevel, "deleted_at") != nullptr ||
        (!IsString(variant.type) && !IsInteger(variant.type) && variant.type != UUIDOID)) {
        return access;
    }
    for (size_t i = 0; i < LevelAccess::kColumns; i++) {
        const Column *const column = binding.find(TableId::kStockLevel, kRoleOf[i]);
        if (column == nullptr) {
            continue;
        }
        const bool id = i == kLocation || i == kProduct;
        if (id ? !IsString(column->type) : !IsInteger(column->type)) {
            return access;
        }
        access.columns[i] = {column->number, column->type, -1};
    }
    const Oid oid = binding.table(TableId::kStockLevel).oid;
    const AttrNumber number = variant.number;
    LevelAccess *const found = &access;
    pg::Call([=] {
        const Relation relation = table_open(oid, NoLock);
        if (relation->rd_rel->relkind == RELKIND_RELATION &&
            relation->rd_tableam == GetHeapamTableAmRoutine() && AllStored(relation, *found)) {
            found->index = FindDirectIndex(relation, number, found->columns[kLocation].number);
        }
        table_close(relation, NoLock);
    });
    return access;
}

// A row's columns, copied: integers as bigint, ids as text.
struct Row {
    Datum values[LevelAccess::kColumns];
    bool nulls[LevelAccess::kColumns];
    RowVersion version;
};

void CopyRow(const LevelAccess &access, TupleTableSlot *slot, Row *row) {
    row->version.xmin = XminOf(slot);
    for (size_t i = 0; i < LevelAccess::kColumns; i++) {
        const ColumnPlace &place = access.columns[i];
        row->nulls[i] = true;
        if (place.number == InvalidAttrNumber) {
            continue;
        }
        const Datum value = slot_getattr(slot, place.number, &row->nulls[i]);
        if (row->nulls[i]) {
            continue;
        }
        row->values[i] = place.type == INT8OID   ? value
                         : place.type == INT4OID ? Int64GetDatum(DatumGetInt32(value))
                         : place.type == INT2OID ? Int64GetDatum(DatumGetInt16(value))
                                                 : PointerGetDatum(DatumGetTextPCopy(value));
    }
}

// What to look for, and where what was found goes. Plain data: it is used inside one pg::Call().
struct Search {
    const LevelAccess *access;
    Oid relation;
    Datum variant;
    const Datum *location;      // nullptr: anywhere
    const LockTupleMode *mode;  // nullptr: only read
    Row *row;
};

// Finds the only row of the key: where it is and, when it shall not be locked, what is in it.
// False when there is none, or several.
bool FindOne(const Search &search, Relation relation, TupleTableSlot *slot, ItemPointer tid) {
    const Datum values[] = {search.variant, search.location != nullptr ? *search.location : 0};
    int found = 0;
    ScanDirectly(relation, search.access->index, values, search.location != nullptr ? 2 : 1, slot,
                 [&] {
                     if (found++ > 0) {
                         return false;
                     }
                     ItemPointerCopy(&slot->tts_tid, tid);
                     if (search.mode == nullptr) {
                         CopyRow(*search.access, slot, search.row);
                     }
                     return true;
                 });
    return found == 1;
}

// Locks the row as it was committed last. False when it is not, or no longer, the one found.
bool LockOne(const Search &search, Relation relation, TupleTableSlot *slot, ItemPointer tid) {
    const uint8 flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS |
                        (IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION);
    TM_FailureData failure;
    ExecClearTuple(slot);
    if (table_tuple_lock(relation, tid, GetActiveSnapshot(), slot, GetCurrentCommandId(true),
                         *search.mode, LockWaitBlock, flags, &failure) != TM_Ok ||
        failure.traversed) {
        return false;
    }
    CopyRow(*search.access, slot, search.row);
    return true;
}

bool Find(const Search &search) {
    CHECK_FOR_INTERRUPTS();  // a large change looks for one row after the other
    const Relation relation = table_open(search.relation, NoLock);
    bool good = !relation->rd_rel->relhassubclass;
    if (good) {
        TupleTableSlot *const slot = table_slot_create(relation, nullptr);
        PushStatementSnapshot();
        ItemPointer const tid = &search.row->version.tid;
        good = FindOne(search, relation, slot, tid) &&
               (search.mode == nullptr || LockOne(search, relation, slot, tid));
        PopActiveSnapshot();
        ExecDropSingleTupleTableSlot(slot);
    }
    table_close(relation, NoLock);
    return good;
}

std::string TextOf(const Row &row, ColumnNumber column, const char *otherwise) {
    if (row.nulls[column]) {
        return otherwise;
    }
    const text *const value = DatumGetTextPP(row.values[column]);
    return std::string(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

std::optional<int64> NumberOf(const Row &row, ColumnNumber column) {
    return row.nulls[column] ? std::nullopt
                             : std::optional<int64>(DatumGetInt64(row.values[column]));
}

std::optional<Level> FindLevel(Binding &binding, const StockNeed &need, const LockTupleMode *mode) {
    if (!binding.is_current()) {
        return std::nullopt;
    }
    LevelAccess &access = binding.access();
    if (!access.known) {
        access = FindAccess(binding);
    }
    const Table &table = binding.table(TableId::kStockLevel);
    // Who watches which tables are read (auditing, mandatory access control) is to see this too.
    if (!OidIsValid(access.index.oid) || ExecutorCheckPerms_hook != nullptr ||
        RowSecurityApplies(table)) {
        return std::nullopt;
    }
    const bool located = access.columns[kLocation].number != InvalidAttrNumber;
    if (need.location && (located ? !access.index.second : need.location->text != kMainLocation)) {
        return std::nullopt;
    }
    Row row;
    const Search search = {&access,
                           table.oid,
                           need.variant.value,
                           need.location && located ? &need.location->value : nullptr,
                           mode,
                           &row};
    if (!pg::Call([&search] { return Find(search); })) {
        return std::nullopt;
    }
    Level level;
    level.location = TextOf(row, kLocation, located ? "" : kMainLocation);
    level.on_hand = NumberOf(row, kOnHand).value_or(0);
    level.held = NumberOf(row, kHeld).value_or(0);
    level.safety_stock = NumberOf(row, kSafetyStock).value_or(0);
    level.backorder_limit = NumberOf(row, kBackorderLimit).value_or(0);
    level.low_stock_threshold = NumberOf(row, kLowStock);
    level.version = NumberOf(row, kVersion);
    level.fence = static_cast<uint64>(NumberOf(row, kFence).value_or(0));
    level.product = TextOf(row, kProduct, "");
    level.row = row.version;
    return level;
}

}  // namespace

std::optional<Level> LockDirectly(Binding &binding, const StockNeed &need, LockTupleMode mode) {
    return FindLevel(binding, need, &mode);
}

bool LockIfUnchanged(const Binding &binding, const RowVersion &version, LockTupleMode mode) {
    const Oid oid = binding.table(TableId::kStockLevel).oid;
    return pg::Call([&] {
        CHECK_FOR_INTERRUPTS();
        const Relation relation = table_open(oid, NoLock);
        // The slot keeps the version where it is while it is compared and locked.
        TupleTableSlot *const there = table_slot_create(relation, nullptr);
        TupleTableSlot *const locked = table_slot_create(relation, nullptr);
        PushStatementSnapshot();
        ItemPointerData tid = version.tid;
        TM_FailureData failure;
        const bool good =
            table_tuple_fetch_row_version(relation, &tid, SnapshotSelf, there) &&
            XminOf(there) == version.xmin &&
            table_tuple_lock(relation, &tid, GetActiveSnapshot(), locked, GetCurrentCommandId(true),
                             mode, LockWaitBlock, TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS,
                             &failure) == TM_Ok;
        PopActiveSnapshot();
        ExecDropSingleTupleTableSlot(locked);
        ExecDropSingleTupleTableSlot(there);
        table_close(relation, NoLock);
        return good;
    });
}

std::optional<Level> ReadDirectly(Binding &binding, const StockNeed &need) {
    return FindLevel(binding, need, nullptr);
}

}  // namespace inventory_lock::commerce
