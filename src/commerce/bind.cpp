// Binds tables that exist: see bind.hpp. Runs in: backends.

#include "commerce/bind.hpp"

#include "commerce/binding_catalogue.hpp"
#include "commerce/order_writer.hpp"
#include "commerce/roles.hpp"
#include "commerce/sql_text.hpp"
#include "commerce/tables.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

pg::SqlError NameIsBound(const std::string &name) {
    return pg::SqlError(ERRCODE_DUPLICATE_OBJECT, "binding \"" + name + "\" exists already", {},
                        "Call inventory_lock.unbind first.");
}

// Every name in `columns` must be one of ours, every value a column's name or null.
void CheckColumns(const Json &columns) {
    const auto refuse = [](const std::string &message, const std::string &hint = {}) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, {}, hint);
    };
    if (columns.kind != Json::Kind::kObject) {
        refuse("columns must be an object");
    }
    for (size_t i = 0; i < columns.items.size(); i++) {
        const std::string &table = columns.names[i];
        const auto *const roles =
            std::find_if(std::begin(kRoles), std::end(kRoles),
                         [&](const RoleList &list) { return table == list.table; });
        if (roles == std::end(kRoles)) {
            refuse("columns has an unknown member \"" + table + "\"",
                   "Known are stock_level, movement, orders, order_line, reservation.");
        }
        const Json &names = columns.items[i];
        if (names.kind != Json::Kind::kObject) {
            refuse("columns." + table + " must be an object");
        }
        for (size_t k = 0; k < names.items.size(); k++) {
            const bool known = std::any_of(roles->begin(), roles->end(), [&](const Role &role) {
                return names.names[k] == role.name;
            });
            if (!known) {
                refuse("columns." + table + " has an unknown member \"" + names.names[k] + "\"",
                       "The members are called as the columns of the tables that"
                       " inventory_lock.create_tables makes.");
            }
            if (names.items[k].kind != Json::Kind::kString &&
                names.items[k].kind != Json::Kind::kNull) {
                refuse("columns." + table + "." + names.names[k] +
                       " must be a column's name, or null when there is none");
            }
        }
    }
}

// `columns` with the arguments of their own put into it. 22023 when both name a column, and not
// the same.
std::string MergedColumns(const BindRequest &request) {
    std::string merged = "{";
    std::string stock;
    for (const auto &[role, column] : request.stock_columns) {
        const Json *const table = request.columns.Find("stock_level");
        const Json *const given = table != nullptr ? table->Find(role) : nullptr;
        if (given != nullptr && given->text != column) {
            throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                               "columns.stock_level." + role + " is \"" + given->text +
                                   "\", but the argument for it is \"" + column + "\"");
        }
        stock += ", " + JsonString(role) + ": " + JsonString(column);
    }
    bool stock_written = false;
    for (size_t i = 0; i < request.columns.items.size(); i++) {
        const Json &table = request.columns.items[i];
        std::string names = table.Text();
        if (request.columns.names[i] == "stock_level" && !stock.empty()) {
            // A later member of a JSON object goes before an earlier one of its name.
            names.pop_back();
            names += table.items.empty() ? stock.substr(2) + "}" : stock + "}";
            stock_written = true;
        }
        merged +=
            (merged.size() > 1 ? ", " : "") + JsonString(request.columns.names[i]) + ": " + names;
    }
    if (!stock.empty() && !stock_written) {
        merged += std::string(merged.size() > 1 ? ", " : "") + "\"stock_level\": {" +
                  stock.substr(2) + "}";
    }
    return merged + "}";
}

// The stock table's column for a role, as the request has it; nullopt when it says there is none.
std::optional<std::string> NameOfRole(const BindRequest &request, const std::string &role) {
    for (const auto &[name, column] : request.stock_columns) {
        if (name == role) {
            return column;
        }
    }
    for (size_t i = 0; i < request.columns.items.size(); i++) {
        const Json &table = request.columns.items[i];
        for (size_t k = 0; request.columns.names[i] == "stock_level" && k < table.items.size();
             k++) {
            if (table.names[k] == role) {
                return table.items[k].kind == Json::Kind::kNull
                           ? std::nullopt
                           : std::optional<std::string>(table.items[k].text);
            }
        }
    }
    return role;
}

// That column's type, a domain's base type, qualified because the movement table is created under
// another search_path; nullopt when the table has no such column.
std::optional<std::string> TypeOfRole(const BindRequest &request, const std::string &role) {
    const std::optional<std::string> name = NameOfRole(request, role);
    if (!name) {
        return std::nullopt;
    }
    const Oid relation = request.stock_level;
    const char *const column = name->c_str();
    const char *const type = pg::Call([=]() -> const char * {
        const AttrNumber number = get_attnum(relation, column);
        if (number <= 0) {
            return nullptr;
        }
        Oid declared;
        int32 modifier;
        Oid collation;
        get_atttypetypmodcoll(relation, number, &declared, &modifier, &collation);
        const Oid base = getBaseTypeAndTypmod(declared, &modifier);
        return format_type_extended(base, modifier,
                                    FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
    });
    return type == nullptr ? std::nullopt : std::optional<std::string>(type);
}

bool IsBound(const std::string &name) {
    Params params;
    params.Text(name);
    return !RunOnce("SELECT 1 FROM inventory_lock.binding WHERE name OPERATOR(pg_catalog.=) $1",
                    {TEXTOID}, params)
                .empty();
}

void Tell(const Finding &finding) {
    const std::string text = finding.table + ": " + finding.message;
    const char *const message = text.c_str();
    const char *const hint = finding.hint.c_str();
    pg::Call([=] { ereport(NOTICE, (errmsg_internal("%s", message), errhint("%s", hint))); });
}

// The first error, as every call over the binding would raise it.
void RaiseFirstError(const std::string &name, const std::vector<Finding> &findings) {
    for (const Finding &finding : findings) {
        if (finding.error) {
            throw pg::SqlError(
                pg::kBindingInvalid,
                "binding \"" + name + "\": table " + finding.table + ": " + finding.message, {},
                finding.hint);
        }
    }
}

void Write(const BindRequest &request, const std::array<Oid, kTablesOfBind> &tables) {
    Params params;
    params.Text(request.name);
    for (const Oid table : tables) {
        if (OidIsValid(table)) {
            params.Value(ObjectIdGetDatum(table));
        } else {
            params.Null();
        }
    }
    params.Value(BoolGetDatum(request.lock_per_location)).Value(MakeJsonb(MergedColumns(request)));
    params.Text(OidIsValid(request.order_writer)
                    ? std::optional<std::string>(NameOfOrderWriter(request.order_writer))
                    : std::nullopt);
    const Rows rows = RunAsCatalogueOwner(
        "INSERT INTO inventory_lock.binding (name, stock_level, movement, orders,"
        " order_line, reservation, lock_per_location, columns, order_writer)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO NOTHING RETURNING 1",
        {TEXTOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, BOOLOID,
         JSONBOID, TEXTOID},
        params);
    if (rows.empty()) {
        throw NameIsBound(request.name);
    }
}

// Which tables are to be made beside the stock table.
std::vector<TableId> MissingTables(const BindRequest &request) {
    const auto missing = [&request](TableId id) {
        return !OidIsValid(request.tables[static_cast<size_t>(id)]);
    };
    std::vector<TableId> tables;
    if (missing(TableId::kMovement)) {
        tables.push_back(TableId::kMovement);
    }
    if (request.create_missing && missing(TableId::kReservation)) {
        tables.push_back(TableId::kReservation);
    }
    if ((request.create_missing || OidIsValid(request.order_writer)) && missing(TableId::kOrders) &&
        missing(TableId::kOrderLine)) {
        tables.push_back(TableId::kOrders);
        tables.push_back(TableId::kOrderLine);
    }
    return tables;
}

void CreateMissing(const BindRequest &request, std::array<Oid, kTablesOfBind> *tables) {
    const auto variant = TypeOfRole(request, "variant_id");
    if (!variant && OidIsValid((*tables)[static_cast<size_t>(TableId::kMovement)])) {
        return;  // reading the binding back will say so
    }
    if (!variant) {
        throw pg::SqlError(pg::kBindingInvalid,
                           "table " + RelationName(request.stock_level) + " has no column \"" +
                               NameOfRole(request, "variant_id").value_or("") + "\"",
                           "The column is bound as variant_id.");
    }
    const std::string location = TypeOfRole(request, "location_id").value_or("text");
    for (const TableId id : MissingTables(request)) {
        Oid &table = (*tables)[static_cast<size_t>(id)];
        table = CreateSideTable(request.stock_level, id, *variant, location);
        CheckOwner(table);
    }
}

}  // namespace

void Bind(const BindRequest &request) {
    if (request.name.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "argument \"name\" must not be empty");
    }
    CheckColumns(request.columns);
    if (IsBound(request.name)) {
        throw NameIsBound(request.name);
    }
    const auto given = [&request](TableId id) {
        return OidIsValid(request.tables[static_cast<size_t>(id)]);
    };
    if (OidIsValid(request.order_writer) &&
        (given(TableId::kOrders) || given(TableId::kOrderLine))) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "order_writer stands in place of orders and order_line", {},
                           "Give either the function or the tables.");
    }
    for (const Oid table : request.tables) {
        if (OidIsValid(table)) {
            CheckOwner(table);
        }
    }
    std::array<Oid, kTablesOfBind> tables = request.tables;
    CreateMissing(request, &tables);
    Write(request, tables);
    const std::shared_ptr<Binding> binding = Binding::Resolve(request.name);
    const std::vector<Finding> findings = Inspect(*binding);
    RaiseFirstError(request.name, findings);
    for (const Finding &finding : findings) {
        Tell(finding);
    }
}

bool Unbind(const std::string &name) {
    Params params;
    params.Text(name);
    const Rows rows = RunOnce(
        "SELECT c.oid::pg_catalog.int8 FROM inventory_lock.binding b LEFT JOIN pg_catalog.pg_class"
        " c ON c.oid OPERATOR(pg_catalog.=) b.stock_level::pg_catalog.oid"
        " WHERE b.name OPERATOR(pg_catalog.=) $1",
        {TEXTOID}, params);
    if (rows.empty()) {
        return false;
    }
    if (const auto stock = rows.OptionalInt8(0, 0)) {
        CheckOwner(static_cast<Oid>(*stock));
    }
    RunAsCatalogueOwner("DELETE FROM inventory_lock.binding WHERE name OPERATOR(pg_catalog.=) $1",
                        {TEXTOID}, params);
    return true;
}

std::vector<Finding> CheckBinding(const std::string &name) {
    try {
        return Inspect(*Binding::Resolve(name));
    } catch (const pg::SqlError &error) {
        if (error.sqlstate() != pg::kBindingInvalid) {
            throw;
        }
        return {{true, "", error.message(), error.hint()}};
    }
}

}  // namespace inventory_lock::commerce
