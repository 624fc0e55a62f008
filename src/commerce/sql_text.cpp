// Expands statement texts and converts ids: see sql_text.hpp for the syntax.

#include "commerce/sql_text.hpp"

#include "commerce/roles.hpp"

#include <charconv>

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
#include <utils/numeric.h>
}

namespace inventory_lock::commerce {

namespace {

TableId TableByName(std::string_view name) {
    for (size_t i = 0; i < kTableIds; i++) {
        if (name == kRoles[i].table) {
            return static_cast<TableId>(i);
        }
    }
    throw std::logic_error("unknown table in a statement: " + std::string(name));
}

// Splits "table.role".
std::pair<TableId, std::string_view> SplitColumn(std::string_view text) {
    const size_t dot = text.find('.');
    if (dot == std::string_view::npos) {
        throw std::logic_error("column without a table in a statement: " + std::string(text));
    }
    return {TableByName(text.substr(0, dot)), text.substr(dot + 1)};
}

std::string ExpandPlaceholder(const Binding &binding, std::string_view text) {
    if (text == "live") {
        const Column *const deleted_at = binding.find(TableId::kStockLevel, "deleted_at");
        return deleted_at == nullptr ? "" : " AND s." + QuoteName(deleted_at->name) + " IS NULL";
    }
    if (text.find_first_not_of("=<>+-*|") == std::string_view::npos) {
        return " OPERATOR(pg_catalog." + std::string(text) + ") ";
    }
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) {
        if (text.find('.') == std::string_view::npos) {
            return binding.table(TableByName(text)).name;
        }
        const auto [table, role] = SplitColumn(text);
        return QuoteName(binding.column(table, role).name);
    }
    const std::string_view alias = text.substr(0, colon);
    text.remove_prefix(colon + 1);
    const size_t bar = text.find('|');
    const auto [table, role] = SplitColumn(text.substr(0, bar));
    if (alias == "type") {
        return binding.column(table, role).type_name;
    }
    const Column *const column =
        bar == std::string_view::npos ? &binding.column(table, role) : binding.find(table, role);
    if (column == nullptr) {
        return std::string(text.substr(bar + 1));
    }
    return std::string(alias) + "." + QuoteName(column->name);
}

bool IsText(Oid type) {
    return type == TEXTOID || type == VARCHAROID;
}

}  // namespace

std::string Binding::Sql(std::string_view text) const {
    std::string sql;
    while (!text.empty()) {
        const size_t open = text.find('{');
        sql += text.substr(0, open);
        if (open == std::string_view::npos) {
            break;
        }
        const size_t close = text.find('}', open);
        sql += ExpandPlaceholder(*this, text.substr(open + 1, close - open - 1));
        text.remove_prefix(close + 1);
    }
    return sql;
}

std::string InsertSelect(const Binding &binding, TableId table,
                         std::initializer_list<Assignment> assignments) {
    std::string columns;
    std::string expressions;
    for (const Assignment &assignment : assignments) {
        if (const Column *const column = binding.find(table, assignment.role)) {
            const char *const comma = columns.empty() ? "" : ", ";
            columns += comma + QuoteName(column->name);
            expressions += comma + binding.Sql(assignment.expression);
        }
    }
    return "INSERT INTO " + binding.table(table).name + " (" + columns + ") SELECT " + expressions;
}

std::string SetList(const Binding &binding, TableId table,
                    std::initializer_list<Assignment> assignments) {
    std::string list;
    for (const Assignment &assignment : assignments) {
        if (const Column *const column = binding.find(table, assignment.role)) {
            list += (list.empty() ? "" : ", ") + QuoteName(column->name) + " = " +
                    binding.Sql(assignment.expression);
        }
    }
    return list;
}

std::string OfLines(const Binding &binding, TableId table, std::string_view id_role, size_t first,
                    const std::string &more) {
    const auto parameter = [first](size_t n) { return "$" + std::to_string(first + n); };
    const auto column = [&](std::string_view role) {
        return "s." + QuoteName(binding.column(table, role).name);
    };
    // Behind OFFSET 0 the planner does not see that all lines have one id. It would find them by
    // it, expect a few, and compare each with all that are given.
    return binding.Sql(" FROM (SELECT " + parameter(0) +
                       " AS id, n.line_no, n.given FROM ROWS FROM (pg_catalog.unnest(" +
                       parameter(1) + "), pg_catalog.unnest(" + parameter(2) +
                       ")) AS n (line_no, given) OFFSET 0) AS u" + more + " WHERE " +
                       column(id_role) + "{=}u.id AND " + column("line_no") + "{=}u.line_no");
}

std::string QuoteName(const std::string &name) {
    const char *const text = name.c_str();
    return pg::Call([text] { return quote_identifier(text); });
}

std::string QuoteLiteral(const std::string &text) {
    const char *const plain = text.c_str();
    return pg::Call([plain] { return quote_literal_cstr(plain); });
}

std::string RelationName(Oid relation) {
    const char *const name = pg::Call([relation]() -> const char * {
        const char *const relation_name = get_rel_name(relation);
        if (relation_name == nullptr) {
            return nullptr;
        }
        const char *const schema_name = get_namespace_name(get_rel_namespace(relation));
        return schema_name != nullptr ? quote_qualified_identifier(schema_name, relation_name)
                                      : nullptr;
    });
    return name != nullptr ? name : std::string();
}

Id ParseId(const Column &column, const std::string &text, const char *argument) {
    if (IsText(column.type)) {
        return {text, TextDatum(text)};
    }
    const char *const input = text.c_str();
    const Oid type = column.type;
    Datum value;
    try {
        value = pg::Call([=] {
            Oid function;
            Oid parameter;
            getTypeInputInfo(type, &function, &parameter);
            return OidInputFunctionCall(function, const_cast<char *>(input), parameter, -1);
        });
    } catch (const pg::PgError &error) {
        const int sqlstate = error.edata != nullptr ? error.edata->sqlerrcode : 0;
        if (sqlstate != ERRCODE_INVALID_TEXT_REPRESENTATION &&
            sqlstate != ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE) {
            throw;
        }
        throw pg::SqlError(sqlstate, "argument \"" + std::string(argument) + "\" is not of type " +
                                         column.type_name + ": \"" + text + "\"");
    }
    const char *const output = pg::Call([=]() -> const char * {
        if (type == NUMERICOID) {
            return numeric_normalize(DatumGetNumeric(value));
        }
        Oid function;
        bool variable_length;
        getTypeOutputInfo(type, &function, &variable_length);
        return OidOutputFunctionCall(function, value);
    });
    return {output, value};
}

namespace {

template <typename Integer>
bool FitsInteger(const std::string &text) {
    Integer number;
    const char *const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && stop == end;
}

}  // namespace

std::string NormalId(const Binding &binding, const char *role, const std::string &text) {
    const Column *const column = binding.find(TableId::kStockLevel, role);
    return column != nullptr && CouldBeId(*column, text) ? ParseId(*column, text, role).text : text;
}

bool CouldBeId(const Column &column, const std::string &text) {
    constexpr size_t kUuidLength = 36;
    switch (column.type) {
        case INT2OID:
            return FitsInteger<int16>(text);
        case INT4OID:
            return FitsInteger<int32>(text);
        case INT8OID:
            return FitsInteger<int64>(text);
        case UUIDOID:
            return text.size() == kUuidLength &&
                   text.find_first_not_of("0123456789abcdefABCDEF-") == std::string::npos &&
                   std::count(text.begin(), text.end(), '-') == 4 && text[8] == '-' &&
                   text[13] == '-' && text[18] == '-' && text[23] == '-';
        case NUMERICOID:
            return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
        default:
            return IsText(column.type);
    }
}

}  // namespace inventory_lock::commerce
