// Writes one change without plans: see direct_write.hpp.

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

// The values of one row, as they are put together. Not good any more when a column cannot have its
// value without a cast: the statement has to be run, which casts it or says why not.
class RowValues final {
  public:
    RowValues(const Binding &binding, TableId table) : binding_(binding), table_(table) {}

    void Text(std::string_view role, std::optional<std::string_view> text) {
        if (const Column *const column = binding_.find(table_, role)) {
            Add(*column, text ? TextDatum(*text) : 0, !text);
        }
    }
    void Int8(std::string_view role, int64 number) {
        const Column *const column = binding_.find(table_, role);
        if (column == nullptr) {
            return;
        }
        const bool fits =
            column->type == INT8OID ||
            (column->type == INT4OID && number == static_cast<int32>(number)) ||
            (column->type == INT2OID && number == static_cast<int16>(number));
        good_ = good_ && fits;
        Add(*column,
            column->type == INT8OID   ? Int64GetDatum(number)
            : column->type == INT4OID ? Int32GetDatum(static_cast<int32>(number))
                                      : Int16GetDatum(static_cast<int16>(number)),
            false);
    }
    void Now(std::string_view role) {
        if (const Column *const column = binding_.find(table_, role)) {
            Add(*column, TimestampTzGetDatum(GetCurrentTimestamp()), false);
        }
    }
    void Value(const Column &column, Datum value) { Add(column, value, false); }

    bool good() const { return good_; }
    const DirectValue *values() const { return values_; }
    int count() const { return count_; }

  private:
    static constexpr int kMost = 16;

    void Add(const Column &column, Datum value, bool is_null) {
        Assert(count_ < kMost);
        values_[count_++] = {column.number, value, is_null};
    }

    const Binding &binding_;
    const TableId table_;
    DirectValue values_[kMost];
    int count_ = 0;
    bool good_ = true;
};

enum class Kind : uint8 { kText, kInteger, kTime, kVariant };

struct Written {
    const char *role;
    Kind kind;
};

constexpr Written kLevelColumns[] = {{"on_hand", Kind::kInteger},
                                     {"held", Kind::kInteger},
                                     {"version", Kind::kInteger},
                                     {"fence", Kind::kInteger},
                                     {"updated_at", Kind::kTime}};
constexpr Written kMovementColumns[] = {
    {"occurred_at", Kind::kTime},    {"variant_id", Kind::kVariant},
    {"location_id", Kind::kText},    {"kind", Kind::kText},
    {"delta", Kind::kInteger},       {"on_hand_after", Kind::kInteger},
    {"reason", Kind::kText},         {"reference_type", Kind::kText},
    {"reference_id", Kind::kText},   {"actor", Kind::kText},
    {"note", Kind::kText},           {"request_key", Kind::kText},
    {"fence", Kind::kInteger},       {"protection", Kind::kText}};

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

// nullptr: rows of this table have to be written by statements.
template <size_t kCount>
DirectTable *Prepare(const Binding &binding, TableId id, DirectOperation operation,
                     const Written (&columns)[kCount]) {
    const Oid relation = binding.table(id).oid;
    AttrNumber given[kCount];
    int count = 0;
    for (const Written &written : columns) {
        const Column *const column = binding.find(id, written.role);
        if (column == nullptr) {
            continue;
        }
        if (!HasKind(binding, *column, written.kind) || !IsBareType(relation, column->number)) {
            return nullptr;
        }
        given[count++] = column->number;
    }
    return pg::Call([=, &given] { return PrepareDirectTable(relation, operation, given, count); });
}

bool Interrupted(const DirectWrites &writes) {
    return (writes.level != nullptr && IsInterrupted(writes.level)) ||
           (writes.movement != nullptr && IsInterrupted(writes.movement));
}

// False when statements have to be run.
bool Ready(Binding &binding) {
    DirectWrites &writes = binding.writes();
    if (Interrupted(writes)) {
        DropWrites(&writes);
    }
    if (!writes.known) {
        writes.known = true;
        writes.level =
            Prepare(binding, TableId::kStockLevel, DirectOperation::kUpdate, kLevelColumns);
        if (writes.level != nullptr) {
            writes.movement =
                Prepare(binding, TableId::kMovement, DirectOperation::kInsert, kMovementColumns);
        }
    }
    // Who watches which tables are written (auditing, mandatory access control) is to see this too.
    return writes.movement != nullptr && ExecutorCheckPerms_hook == nullptr &&
           !RowSecurityApplies(binding.table(TableId::kStockLevel)) &&
           !RowSecurityApplies(binding.table(TableId::kMovement));
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

std::optional<WrittenChange> WriteDirectly(Binding &binding, const StockChange &change,
                                           const Occasion &occasion) {
    constexpr int64 kLastVersion = std::numeric_limits<int64>::max();
    if (!change.level.row || change.level.version == kLastVersion || !Ready(binding)) {
        return std::nullopt;
    }
    const int64 on_hand = change.level.on_hand + change.delta;
    std::optional<int64> version = change.level.version;
    if (version) {
        ++*version;
    }
    const auto fence = static_cast<int64>(change.grant.fence);
    RowValues level(binding, TableId::kStockLevel);
    level.Int8("on_hand", on_hand);
    if (change.held_delta != 0) {
        level.Int8("held", change.level.held + change.held_delta);
    }
    if (version) {
        level.Int8("version", *version);
    }
    level.Int8("fence", fence);
    level.Now("updated_at");

    RowValues movement(binding, TableId::kMovement);
    movement.Now("occurred_at");
    movement.Value(binding.column(TableId::kMovement, "variant_id"), change.variant.value);
    movement.Text("location_id", change.level.location);
    movement.Text("kind", occasion.kind);
    movement.Int8("delta", change.delta);
    movement.Int8("on_hand_after", on_hand);
    movement.Text("reason", occasion.reason);
    movement.Text("reference_type", occasion.reference_type);
    movement.Text("reference_id", occasion.reference_id);
    movement.Text("actor", occasion.actor);
    movement.Text("note", occasion.note);
    movement.Text("request_key", occasion.request_key);
    movement.Int8("fence", fence);
    movement.Text("protection", ProtectionName(change.grant));
    if (!level.good() || !movement.good()) {
        return std::nullopt;
    }

    const DirectWrites &writes = binding.writes();
    ItemPointerData row = *change.level.row;
    if (!pg::Call([&] {
            return UpdateDirectly(writes.level, &row, level.values(), level.count());
        })) {
        return std::nullopt;
    }
    const Column *const id = binding.find(TableId::kMovement, "movement_id");
    bool is_null;
    const Datum value = pg::Call([&] {
        return InsertDirectly(writes.movement, movement.values(), movement.count(),
                              id != nullptr ? id->number : InvalidAttrNumber, &is_null);
    });
    WrittenChange written;
    written.movement_id = is_null ? std::string() : TextOfId(*id, value);
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
