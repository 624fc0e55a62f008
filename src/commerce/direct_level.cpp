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

// A need, and what was found of it.
struct Sought {
    Datum values[2];  // variant and location
    int count;        // of values
    Row row;
};

// Finds the only row of the values: where it is and, when it shall not be locked, what is in it.
// False when there is none, or several.
bool FindOne(const LevelAccess &access, DirectScan *scan, TupleTableSlot *slot, bool copy,
             Sought *sought) {
    int found = 0;
    ScanDirectly(scan, sought->values, slot, [&] {
        if (found++ > 0) {
            return false;
        }
        ItemPointerCopy(&slot->tts_tid, &sought->row.version.tid);
        if (copy) {
            CopyRow(access, slot, &sought->row);
        }
        return true;
    });
    return found == 1;
}

// Locks the row as it was committed last. False when it is not, or no longer, the one found.
bool LockOne(const LevelAccess &access, Relation relation, TupleTableSlot *slot, LockTupleMode mode,
             Row *row) {
    const uint8 flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS |
                        (IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION);
    TM_FailureData failure;
    ExecClearTuple(slot);
    if (table_tuple_lock(relation, &row->version.tid, GetActiveSnapshot(), slot,
                         GetCurrentCommandId(true), mode, LockWaitBlock, flags,
                         &failure) != TM_Ok ||
        failure.traversed) {
        return false;
    }
    CopyRow(access, slot, row);
    return true;
}

// Finds them all, and locks each before the next unless `mode` is null. Plain data: it is used
// inside one pg::Call().
bool FindEach(const LevelAccess &access, Oid oid, Sought *begin, const Sought *end,
              const LockTupleMode *mode, const locking::ScopedWaitLimit *limit) {
    const Relation relation = table_open(oid, NoLock);
    bool good = !relation->rd_rel->relhassubclass;
    if (good) {
        TupleTableSlot *const slot = table_slot_create(relation, nullptr);
        PushStatementSnapshot();
        DirectScan scan = {};
        for (Sought *sought = begin; sought != end && good; sought++) {
            CHECK_FOR_INTERRUPTS();
            if (scan.count != sought->count) {
                if (scan.count > 0) {
                    EndScan(&scan);
                }
                BeginScan(relation, access.index, sought->count, &scan);
            }
            if (limit != nullptr) {
                limit->Renew();
            }
            good = FindOne(access, &scan, slot, mode == nullptr, sought) &&
                   (mode == nullptr || LockOne(access, relation, slot, *mode, &sought->row));
        }
        if (scan.count > 0) {
            EndScan(&scan);
        }
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

Level LevelOf(const Row &row, bool located, uint64 generation) {
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
    level.row->generation = generation;
    return level;
}

// How this table's rows can be found here; nullptr when they cannot.
const LevelAccess *AccessTo(Binding &binding) {
    if (!binding.is_current()) {
        return nullptr;
    }
    LevelAccess &access = binding.access();
    if (!access.known) {
        access = FindAccess(binding);
    }
    // Who watches which tables are read (auditing, mandatory access control) is to see this too.
    const bool usable = OidIsValid(access.index.oid) && ExecutorCheckPerms_hook == nullptr &&
                        !RowSecurityApplies(binding.table(TableId::kStockLevel));
    return usable ? &access : nullptr;
}

FoundLevels FindLevels(Binding &binding, const std::vector<StockNeed> &needs,
                       const LockTupleMode *mode, const locking::ScopedWaitLimit *limit) {
    const LevelAccess *const access = AccessTo(binding);
    if (access == nullptr) {
        return std::nullopt;
    }
    const bool located = access->columns[kLocation].number != InvalidAttrNumber;
    std::vector<Sought> sought(needs.size());
    for (size_t i = 0; i < needs.size(); i++) {
        const StockNeed &need = needs[i];
        if (need.location &&
            (located ? !access->index.second : need.location->text != kMainLocation)) {
            return std::nullopt;
        }
        sought[i].values[0] = need.variant.value;
        sought[i].count = 1;
        if (need.location && located) {
            sought[i].values[1] = need.location->value;
            sought[i].count = 2;
        }
    }
    const Oid oid = binding.table(TableId::kStockLevel).oid;
    Sought *const begin = sought.data();
    const Sought *const end = begin + sought.size();
    if (!pg::Call([=] { return FindEach(*access, oid, begin, end, mode, limit); })) {
        return std::nullopt;
    }
    std::vector<std::vector<Level>> levels(needs.size());
    for (size_t i = 0; i < needs.size(); i++) {
        levels[i].push_back(LevelOf(sought[i].row, located, binding.generation()));
    }
    return levels;
}

// Locks them all, if they are what they were.
bool LockVersions(Oid oid, const RowVersion *begin, const RowVersion *end, LockTupleMode mode,
                  const locking::ScopedWaitLimit &limit) {
    const Relation relation = table_open(oid, NoLock);
    // The slot keeps a version where it is while it is compared and locked.
    TupleTableSlot *const there = table_slot_create(relation, nullptr);
    TupleTableSlot *const locked = table_slot_create(relation, nullptr);
    PushStatementSnapshot();
    const bool good = std::all_of(begin, end, [&](const RowVersion &version) {
        CHECK_FOR_INTERRUPTS();
        limit.Renew();
        ItemPointerData tid = version.tid;
        TM_FailureData failure;
        return table_tuple_fetch_row_version(relation, &tid, SnapshotSelf, there) &&
               XminOf(there) == version.xmin &&
               table_tuple_lock(relation, &tid, GetActiveSnapshot(), locked,
                                GetCurrentCommandId(true), mode, LockWaitBlock,
                                TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS, &failure) == TM_Ok;
    });
    PopActiveSnapshot();
    ExecDropSingleTupleTableSlot(locked);
    ExecDropSingleTupleTableSlot(there);
    table_close(relation, NoLock);
    return good;
}

}  // namespace

FoundLevels LockDirectly(Binding &binding, const std::vector<StockNeed> &needs, LockTupleMode mode,
                         const locking::ScopedWaitLimit &limit) {
    return FindLevels(binding, needs, &mode, &limit);
}

bool LockIfUnchanged(const Binding &binding, const std::vector<std::vector<Level>> &levels,
                     LockTupleMode mode, const locking::ScopedWaitLimit &limit) {
    std::vector<RowVersion> versions;
    versions.reserve(levels.size());
    for (const std::vector<Level> &of_need : levels) {
        versions.push_back(*of_need.front().row);
        if (versions.back().generation != binding.generation()) {
            return false;
        }
    }
    const Oid oid = binding.table(TableId::kStockLevel).oid;
    const RowVersion *const begin = versions.data();
    const RowVersion *const end = begin + versions.size();
    return pg::Call([=, &limit] { return LockVersions(oid, begin, end, mode, limit); });
}

FoundLevels ReadDirectly(Binding &binding, const std::vector<StockNeed> &needs) {
    return FindLevels(binding, needs, nullptr, nullptr);
}

}  // namespace inventory_lock::commerce
