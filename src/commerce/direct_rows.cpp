// Values of rows that are written without plans: see direct_rows.hpp.

#include "commerce/direct_rows.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <executor/executor.h>
#include <utils/lsyscache.h>
#include <utils/timestamp.h>
}

namespace inventory_lock::commerce {

namespace {

bool IsString(Oid type) {
    return type == TEXTOID || type == VARCHAROID;
}

bool HasKind(const Binding &binding, const Column &column, ValueKind kind) {
    const auto same = [&column](Oid type) {
        return column.type == type || (IsString(column.type) && IsString(type));
    };
    switch (kind) {
        case ValueKind::kText:
            return IsString(column.type);
        case ValueKind::kInteger:
            return column.type == INT8OID || column.type == INT4OID || column.type == INT2OID;
        case ValueKind::kNumeric:
            return column.type == NUMERICOID;
        case ValueKind::kJsonb:
            return column.type == JSONBOID;
        case ValueKind::kTime:
            return column.type == TIMESTAMPTZOID;
        case ValueKind::kVariant:
            return same(binding.column(TableId::kStockLevel, "variant_id").type);
        case ValueKind::kOrder:
            return same(binding.column(TableId::kOrders, "order_id").type);
        case ValueKind::kOwn:
            return true;
    }
    return false;
}

// False for a domain, and for a limit that is not known here.
bool FindPlace(Oid relation, const Column &column, ColumnPlace *place) {
    const AttrNumber number = column.number;
    place->number = number;
    place->type = column.type;
    return pg::Call([=] {
        Oid type;
        Oid collation;
        get_atttypetypmodcoll(relation, number, &type, &place->modifier, &collation);
        return type == place->type &&
               (place->modifier < 0 || type == VARCHAROID || type == NUMERICOID);
    });
}

// As an assignment to the column does; raises when the value is too long or too large.
Datum WithinLimit(const ColumnPlace &place, Datum value) {
    if (place.modifier < 0) {
        return value;
    }
    const int32 modifier = place.modifier;
    if (place.type == NUMERICOID) {
        return pg::Call(
            [=] { return DirectFunctionCall2(numeric, value, Int32GetDatum(modifier)); });
    }
    return pg::Call([=] {
        return DirectFunctionCall3(varchar, value, Int32GetDatum(modifier), BoolGetDatum(false));
    });
}

}  // namespace

void PrepareRows(const Binding &binding, TableId id, DirectOperation operation,
                 const WrittenRole *roles, size_t role_count, DirectRows *rows,
                 const SatisfiedKey *key) {
    const Oid relation = binding.table(id).oid;
    AttrNumber given[DirectRows::kMostColumns];
    int count = 0;
    for (size_t i = 0; i < role_count; i++) {
        const Column *const column = binding.find(id, roles[i].role);
        if (column == nullptr) {
            continue;
        }
        if (!HasKind(binding, *column, roles[i].kind) ||
            !FindPlace(relation, *column, &rows->columns[i])) {
            return;
        }
        given[count++] = column->number;
    }
    rows->table = pg::Call(
        [=, &given] { return PrepareDirectTable(relation, operation, given, count, key); });
}

void ForgetRows(DirectRows *rows) {
    if (rows->table != nullptr) {
        DirectTable *const table = rows->table;
        pg::Call([table] { FreeDirectTable(table); });
    }
    *rows = {};
}

bool CanWriteRows(const Binding &binding, TableId table, const DirectRows &rows) {
    // Who watches which tables are written (auditing, mandatory access control) is to see this too.
    return rows.table != nullptr && ExecutorCheckPerms_hook == nullptr &&
           !RowSecurityApplies(binding.table(table));
}

void RowValues::Add(size_t column, Datum value, bool is_null) {
    const ColumnPlace &place = rows_.columns[column];
    if (place.number != InvalidAttrNumber) {
        values_[count_++] = {place.number, is_null ? 0 : WithinLimit(place, value), is_null};
    }
}

void RowValues::Text(size_t column, std::optional<std::string_view> text) {
    if (rows_.columns[column].number != InvalidAttrNumber) {
        Add(column, text ? TextDatum(*text) : 0, !text);
    }
}

void RowValues::Int8(size_t column, int64 number) {
    switch (rows_.columns[column].type) {
        case INT8OID:
            Add(column, Int64GetDatum(number), false);
            break;
        case INT4OID:
            good_ = good_ && number == static_cast<int32>(number);
            Add(column, Int32GetDatum(static_cast<int32>(number)), false);
            break;
        case INT2OID:
            good_ = good_ && number == static_cast<int16>(number);
            Add(column, Int16GetDatum(static_cast<int16>(number)), false);
            break;
        default:
            break;  // the table has no such column
    }
}

void RowValues::Numeric(size_t column, const std::optional<std::string> &number) {
    if (!number) {
        Add(column, 0, true);
        return;
    }
    const char *const text = number->c_str();
    Add(column, pg::Call([text] {
            return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
                                       ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
        }),
        false);
}

void RowValues::Now(size_t column) {
    Add(column, TimestampTzGetDatum(GetCurrentTimestamp()), false);
}

std::string TextOfId(Oid type, Datum value) {
    if (type == INT8OID) {
        return std::to_string(DatumGetInt64(value));
    }
    return pg::Call([=] {
        Oid function;
        bool variable_length;
        getTypeOutputInfo(type, &function, &variable_length);
        return OidOutputFunctionCall(function, value);
    });
}

}  // namespace inventory_lock::commerce
