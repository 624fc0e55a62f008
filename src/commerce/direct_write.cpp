// Writes changes without plans: see direct_write.hpp.

#include "commerce/direct_write.hpp"

#include "commerce/direct_table.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <executor/executor.h>
#include <utils/lsyscache.h>
#include <utils/rel.h>
#include <utils/relcache.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::commerce {

namespace {

enum class Kind : uint8 { kText, kInteger, kTime, kVariant };

struct Written {
    const char *role;
    Kind kind;
};

// The columns that are written, in the order of DirectWrites::level_columns and movement_columns.
constexpr Written kLevelColumns[DirectWrites::kLevelColumns] = {{"on_hand", Kind::kInteger},
                                                                {"held", Kind::kInteger},
                                                                {"version", Kind::kInteger},
                                                                {"fence", Kind::kInteger},
                                                                {"updated_at", Kind::kTime}};
enum LevelColumn { kOnHand, kHeld, kVersion, kLevelFence, kUpdatedAt };

constexpr Written kMovementColumns[DirectWrites::kMovementColumns] = {
    {"occurred_at", Kind::kTime},  {"variant_id", Kind::kVariant},
    {"location_id", Kind::kText},  {"kind", Kind::kText},
    {"delta", Kind::kInteger},     {"on_hand_after", Kind::kInteger},
    {"reason", Kind::kText},       {"reference_type", Kind::kText},
    {"reference_id", Kind::kText}, {"actor", Kind::kText},
    {"note", Kind::kText},         {"request_key", Kind::kText},
    {"fence", Kind::kInteger},     {"protection", Kind::kText}};
enum MovementColumn {
    kOccurredAt,
    kVariant,
    kLocation,
    kKind,
    kDelta,
    kOnHandAfter,
    kReason,
    kReferenceType,
    kReferenceId,
    kActor,
    kNote,
    kRequestKey,
    kMovementFence,
    kProtection
};

// The values of one row, as they are put together.
template <size_t kMost>
class RowValues final {
  public:
    explicit RowValues(const DirectWrites::Place (&columns)[kMost]) : columns_(columns) {}

    void Text(size_t column, std::optional<std::string_view> text) {
        if (columns_[column].number != InvalidAttrNumber) {
            Value(column, text ? TextDatum(*text) : 0, !text);
        }
    }
    void Int8(size_t column, int64 number) {
        const DirectWrites::Place &place = columns_[column];
        switch (place.type) {
            case INT8OID:
                Value(column, Int64GetDatum(number), false);
                break;
            case INT4OID:
                good_ = good_ && number == static_cast<int32>(number);
                Value(column, Int32GetDatum(static_cast<int32>(number)), false);
                break;
            case INT2OID:
                good_ = good_ && number == static_cast<int16>(number);
                Value(column, Int16GetDatum(static_cast<int16>(number)), false);
                break;
            default:
                break;  // the table has no such column
        }
    }
    void Now(size_t column) { Value(column, TimestampTzGetDatum(GetCurrentTimestamp()), false); }
    void Value(size_t column, Datum value, bool is_null) {
        if (columns_[column].number != InvalidAttrNumber) {
            values_[count_++] = {columns_[column].number, value, is_null};
        }
    }

    bool good() const { return good_; }  // every number fits into its column
    const DirectValue *values() const { return values_; }
    int count() const { return count_; }

  private:
    const DirectWrites::Place (&columns_)[kMost];
    DirectValue values_[kMost];
    int count_ = 0;
    bool good_ = true;
};

bool IsString(Oid type) {
    return type == TEXTOID || type == VARCHAROID;
}

bool HasKind(const Binding &binding, const Column &column, Kind kind) {
    const Oid variant = binding.column(TableId::kStockLevel, "variant_id").type;
    switch (kind) {
        case Kind::kText:
            return IsString(column.type);
        case Kind::kInteger:
            return column.type == INT8OID || column.type == INT4OID || column.type == INT2OID;
        case Kind::kTime:
            return column.type == TIMESTAMPTZOID;
        case Kind::kVariant:
            return column.type == variant || (IsString(column.type) && IsString(variant));
    }
    return false;
}

// A domain's constraints and a limit of length are checked by a cast, which only a statement has.
bool IsBareType(Oid relation, AttrNumber number) {
    return pg::Call([=] {
        Oid type;
        int32 modifier;
        Oid collation;
        get_atttypetypmodcoll(relation, number, &type, &modifier, &collation);
        return getBaseType(type) == type && (modifier < 0 || !IsString(type));
    });
}

// Looks the columns up. nullptr: rows of this table have to be written by statements.
template <size_t kCount>
DirectTable *Prepare(const Binding &binding, TableId id, DirectOperation operation,
                     const Written (&columns)[kCount], DirectWrites::Place (&places)[kCount]) {
    const Oid relation = binding.table(id).oid;
    AttrNumber given[kCount];
    int count = 0;
    for (size_t i = 0; i < kCount; i++) {
        const Column *const column = binding.find(id, columns[i].role);
        if (column == nullptr) {
            continue;
        }
        if (!HasKind(binding, *column, columns[i].kind) || !IsBareType(relation, column->number)) {
            return nullptr;
        }
        places[i] = {column->number, column->type};
        given[count++] = column->number;
    }
    return pg::Call([=, &given] { return PrepareDirectTable(relation, operation, given, count); });
}

bool Interrupted(const DirectWrites &writes) {
    return (writes.level != nullptr && IsInterrupted(writes.level)) ||
           (writes.movement != nullptr && IsInterrupted(writes.movement));
}

void Prepare(const Binding &binding, DirectWrites *writes) {
    writes->known = true;
    writes->level = Prepare(binding, TableId::kStockLevel, DirectOperation::kUpdate, kLevelColumns,
                            writes->level_columns);
    if (writes->level != nullptr) {
        writes->movement = Prepare(binding, TableId::kMovement, DirectOperation::kInsert,
                                   kMovementColumns, writes->movement_columns);
    }
}

std::string TextOfId(const Column &column, Datum value) {
    if (column.type == INT8OID) {
        return std::to_string(DatumGetInt64(value));
    }
    const Oid type = column.type;
    return pg::Call([=] {
        Oid function;
        bool variable_length;
        getTypeOutputInfo(type, &function, &variable_length);
        return OidOutputFunctionCall(function, value);
    });
}

}  // namespace

bool CanWriteDirectly(Binding &binding) {
    if (!binding.is_current()) {
        return false;
    }
    DirectWrites &writes = binding.writes();
    if (Interrupted(writes)) {
        DropWrites(&writes);
    }
    if (!writes.known) {
        Prepare(binding, &writes);
    }
    // Who watches which tables are written (auditing, mandatory access control) is to see this too.
    return writes.movement != nullptr && ExecutorCheckPerms_hook == nullptr &&
           !RowSecurityApplies(binding.table(TableId::kStockLevel)) &&
           !RowSecurityApplies(binding.table(TableId::kMovement));
}

std::optional<WrittenChange> WriteDirectly(Binding &binding, const StockChange &change,
                                           const Occasion &occasion) {
    const DirectWrites &writes = binding.writes();
    std::optional<int64> version = change.level.version;
    if (!change.level.row || version == std::numeric_limits<int64>::max() ||
        writes.movement == nullptr || !binding.is_current()) {
        return std::nullopt;
    }
    const int64 on_hand = change.level.on_hand + change.delta;
    const auto fence = static_cast<int64>(change.grant.fence);
    RowValues level(writes.level_columns);
    level.Int8(kOnHand, on_hand);
    if (change.held_delta != 0) {
        level.Int8(kHeld, change.level.held + change.held_delta);
    }
    if (version) {
        level.Int8(kVersion, ++*version);
    }
    level.Int8(kLevelFence, fence);
    level.Now(kUpdatedAt);

    RowValues movement(writes.movement_columns);
    movement.Now(kOccurredAt);
    movement.Value(kVariant, change.variant.value, false);
    movement.Text(kLocation, change.level.location);
    movement.Text(kKind, occasion.kind);
    movement.Int8(kDelta, change.delta);
    movement.Int8(kOnHandAfter, on_hand);
    movement.Text(kReason, occasion.reason);
    movement.Text(kReferenceType, occasion.reference_type);
    movement.Text(kReferenceId, occasion.reference_id);
    movement.Text(kActor, occasion.actor);
    movement.Text(kNote, occasion.note);
    movement.Text(kRequestKey, occasion.request_key);
    movement.Int8(kMovementFence, fence);
    movement.Text(kProtection, ProtectionName(change.grant));
    if (!level.good() || !movement.good()) {
        return std::nullopt;  // the statement says why not
    }

    const Column *const id = binding.find(TableId::kMovement, "movement_id");
    const AttrNumber id_number = id != nullptr ? id->number : InvalidAttrNumber;
    ItemPointerData row = *change.level.row;
    Datum id_value = 0;
    bool id_is_null = true;
    const bool done = pg::Call([&] {
        if (!UpdateDirectly(writes.level, &row, level.values(), level.count())) {
            return false;
        }
        id_value = InsertDirectly(writes.movement, movement.values(), movement.count(), id_number,
                                  &id_is_null);
        return true;
    });
    if (!done) {
        return std::nullopt;
    }
    WrittenChange written;
    written.movement_id = id_is_null ? std::string() : TextOfId(*id, id_value);
    written.on_hand = on_hand;
    written.version = version;
    return written;
}

void DropWrites(DirectWrites *writes) {
    for (DirectTable *const table : {writes->level, writes->movement}) {
        if (table != nullptr) {
            pg::Call([table] { FreeDirectTable(table); });
        }
    }
    *writes = {};
}

}  // namespace inventory_lock::commerce
