// Binds tables that exist: see bind.hpp. Runs in: backends.

#include "commerce/bind.hpp"

#include "commerce/binding_catalogue.hpp"
#include "commerce/roles.hpp"
#include "commerce/sql_text.hpp"
#include "commerce/tables.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <parser/parse_coerce.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

pg::SqlError NameIsBound(const std::string &name) {
    return pg::SqlError(ERRCODE_DUPLICATE_OBJECT, "binding \"" + name + "\" exists already", {},
                        "Call inventory_lock.unbind first.");
}

bool IsId(Oid type) {
    for (const Oid good : {INT2OID, INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, NUMERICOID}) {
        if (type == good) {
            return true;
        }
    }
    return false;
}

bool IsQuantity(Oid type) {
    return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID;
}

// The first row's first column, a boolean, of a query about one relation.
bool Ask(const char *sql, Oid relation, const std::vector<std::string> &names = {}) {
    Params params;
    params.Value(ObjectIdGetDatum(relation)).TextArray(names);
    const Rows rows = RunOnce(sql, {OIDOID, TEXTARRAYOID}, params);
    return !rows.empty() && rows.Bool(0, 0);
}

bool IsOwnedByCaller(Oid relation) {
    return Ask(
        "SELECT pg_catalog.pg_has_role(relowner, 'USAGE') AND $2 IS NOT NULL"
        " FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1",
        relation);
}

void CheckOwner(Oid relation) {
    if (!IsOwnedByCaller(relation)) {
        throw pg::SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                           "must be owner of table " + RelationName(relation));
    }
}

// Is a row found by these columns alone? `exactly`: an index over all of them and no others, as ON
// CONFLICT needs it; else one over some of them is enough.
bool IsUnique(Oid relation, const std::vector<std::string> &columns, bool exactly) {
    const std::string sql =
        "SELECT pg_catalog.bool_or(i.names OPERATOR(pg_catalog.<@) $2" +
        std::string(exactly ? " AND i.names OPERATOR(pg_catalog.@>) $2" : "") +
        ") FROM (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text) AS names"
        " FROM pg_catalog.pg_index x CROSS JOIN LATERAL"
        " pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, n)"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) x.indrelid"
        " AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
        " WHERE x.indrelid OPERATOR(pg_catalog.=) $1 AND x.indisunique AND x.indimmediate"
        " AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL"
        " AND k.n OPERATOR(pg_catalog.<=) x.indnkeyatts GROUP BY x.indexrelid) i";
    return Ask(sql.c_str(), relation, columns);
}

bool AnyNullable(Oid relation, const std::vector<std::string> &columns) {
    return Ask(
        "SELECT pg_catalog.bool_or(NOT attnotnull) FROM pg_catalog.pg_attribute"
        " WHERE attrelid OPERATOR(pg_catalog.=) $1"
        " AND attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
        relation, columns);
}

// Collects what is wrong with the tables of one binding.
class Inspection final {
  public:
    explicit Inspection(const Binding &binding) : binding_(binding) {}

    std::vector<Finding> Run() {
        StockLevel();
        CheckType(TableId::kMovement, "variant_id", IsId, kIdTypes);
        CheckType(TableId::kMovement, "delta", IsQuantity, kQuantityTypes);
        for (const TableId id : {TableId::kMovement, TableId::kOrderLine, TableId::kReservation}) {
            CheckConvertible(id, "variant_id");
            CheckConvertible(id, "location_id");
        }
        const Column *const movement_id = binding_.find(TableId::kMovement, "movement_id");
        if (movement_id != nullptr && !IsQuantity(movement_id->type)) {
            Warn(TableId::kMovement,
                 "column \"" + movement_id->name +
                     "\" does not grow from movement to movement: past levels and"
                     " drift cannot be told",
                 "Bind a column that a sequence fills as movement_id.");
        }
        if (binding_.has(TableId::kOrders) != binding_.has(TableId::kOrderLine)) {
            Error(TableId::kStockLevel, "orders and order_line must be bound together");
        } else if (binding_.has(TableId::kOrders)) {
            CheckUnique(TableId::kOrders, {"user_id", "idempotency_key"}, true);
            CheckUnique(TableId::kOrderLine, {"order_id", "line_no"}, false);
            CheckType(TableId::kOrderLine, "variant_id", IsId, kIdTypes);
            CheckType(TableId::kOrderLine, "quantity", IsQuantity, kQuantityTypes);
        }
        if (binding_.has(TableId::kReservation)) {
            CheckUnique(TableId::kReservation, {"reservation_id", "line_no"}, false);
        }
        return std::move(findings_);
    }

  private:
    static constexpr const char *kIdTypes = "an integer, uuid, text, varchar or numeric";
    static constexpr const char *kQuantityTypes = "smallint, integer, bigint or numeric";

    void Add(bool error, TableId id, const std::string &message, const std::string &hint) {
        findings_.push_back({error, binding_.table(id).name, message, hint});
    }
    void Error(TableId id, const std::string &message, const std::string &hint = {}) {
        Add(true, id, message, hint);
    }
    void Warn(TableId id, const std::string &message, const std::string &hint) {
        Add(false, id, message, hint);
    }

    void CheckType(TableId id, const char *role, bool (*good)(Oid), const char *types) {
        const Column *const column = binding_.find(id, role);
        if (column != nullptr && !good(column->type)) {
            Error(id, "column \"" + column->name + "\" is of type " + column->type_name +
                          ", but must be " + types);
        }
    }

    // Ids go from the stock table into the others.
    void CheckConvertible(TableId id, const char *role) {
        const Column *const from = binding_.find(TableId::kStockLevel, role);
        const Column *const to = binding_.has(id) ? binding_.find(id, role) : nullptr;
        if (from == nullptr || to == nullptr) {
            return;
        }
        const Oid from_type = from->type;
        const Oid to_type = to->type;
        if (!pg::Call(
                [=] { return can_coerce_type(1, &from_type, &to_type, COERCION_EXPLICIT); })) {
            Error(id, "column \"" + to->name + "\" is of type " + to->type_name +
                          ", which cannot hold the stock table's \"" + from->name + "\" of type " +
                          from->type_name);
        }
    }

    void CheckUnique(TableId id, std::initializer_list<const char *> roles, bool exactly) {
        std::vector<std::string> columns;
        std::string list;
        for (const char *const role : roles) {
            if (const Column *const column = binding_.find(id, role)) {
                columns.push_back(column->name);
                list += (list.empty() ? "" : ", ") + QuoteName(column->name);
            }
        }
        const Oid relation = binding_.table(id).oid;
        if (!IsUnique(relation, columns, exactly)) {
            Error(id, "there is no unique index on (" + list + ")",
                  "CREATE UNIQUE INDEX ON " + binding_.table(id).name + " (" + list + ");");
        } else if (AnyNullable(relation, columns)) {
            Error(id, "a column of (" + list + ") can be NULL", "Make it NOT NULL.");
        }
    }

    void StockLevel() {
        const TableId id = TableId::kStockLevel;
        const Oid relation = binding_.table(id).oid;
        CheckType(id, "variant_id", IsId, kIdTypes);
        CheckType(id, "location_id", IsId, kIdTypes);
        for (const char *const role :
             {"on_hand", "held", "safety_stock", "backorder_limit", "low_stock_threshold"}) {
            CheckType(id, role, IsQuantity, kQuantityTypes);
        }
        CheckUnique(id, {"variant_id", "location_id"}, false);
        const std::string on_hand = binding_.column(id, "on_hand").name;
        if (AnyNullable(relation, {on_hand})) {
            Error(id, "column \"" + on_hand + "\" can be NULL", "Make it NOT NULL.");
        }
        if (binding_.find(id, "fence") == nullptr) {
            Warn(id,
                 "no column for the fence: a writer whose lock has gone to somebody else is not"
                 " recognized by the row",
                 "Add a column, bigint NOT NULL DEFAULT 0, and bind it as fence.");
        }
        StockLevelHabits(id, relation, on_hand);
    }

    void StockLevelHabits(TableId id, Oid relation, const std::string &on_hand) {
        if (Ask("SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM pg_catalog.pg_index x"
                " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) x.indrelid"
                " AND a.attnum OPERATOR(pg_catalog.=) ANY (x.indkey::pg_catalog.int2[])"
                " WHERE x.indrelid OPERATOR(pg_catalog.=) $1"
                " AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
                relation, {on_hand})) {
            Warn(id, "column \"" + on_hand + "\" is in an index: every change writes all indexes",
                 "Drop the index, or let it not contain the quantity.");
        }
        if (Ask("SELECT relkind OPERATOR(pg_catalog.=) 'r'::pg_catalog.\"char\" AND $2 IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM pg_catalog.unnest(reloptions) o"
                " WHERE o OPERATOR(pg_catalog.~~) 'fillfactor=%'"
                " AND o OPERATOR(pg_catalog.<>) 'fillfactor=100')"
                " FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1",
                relation)) {
            Warn(id, "pages are filled to the brim: changed rows move to other pages",
                 "ALTER TABLE " + binding_.table(id).name + " SET (fillfactor = 70);");
        }
        if (!Ask("SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM pg_catalog.pg_constraint"
                 " c JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid"
                 " AND a.attnum OPERATOR(pg_catalog.=) ANY (c.conkey)"
                 " WHERE c.conrelid OPERATOR(pg_catalog.=) $1"
                 " AND c.contype OPERATOR(pg_catalog.=) 'c'::pg_catalog.\"char\""
                 " AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
                 relation, {on_hand})) {
            Warn(id, "no CHECK keeps \"" + on_hand + "\" from becoming negative by other hands",
                 "Add one; writers that do not use these functions are not stopped otherwise.");
        }
        if (Ask("SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AND $2 IS NOT NULL"
                " FROM pg_catalog.pg_trigger WHERE tgrelid OPERATOR(pg_catalog.=) $1"
                " AND NOT tgisinternal"
                " AND (tgtype OPERATOR(pg_catalog.&) 1::pg_catalog.int2) OPERATOR(pg_catalog.<>) 0",
                relation)) {
            Warn(id, "row triggers run while the lock is held", "Keep them short.");
        }
        if (binding_.referenced() &&
            Ask("SELECT pg_catalog.current_setting('inventory_lock.row_lock')"
                " OPERATOR(pg_catalog.=) 'update' AND $1 IS NOT NULL AND $2 IS NOT NULL",
                relation)) {
            Warn(id, "foreign keys point at it: inserting what refers to a row waits for its lock",
                 "Set inventory_lock.row_lock to auto.");
        }
    }

    const Binding &binding_;
    std::vector<Finding> findings_;
};

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

void Write(const BindRequest &request, const std::array<Oid, kTableIds> &tables) {
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
    const Rows rows = RunAsCatalogueOwner(
        "INSERT INTO inventory_lock.binding (name, stock_level, movement, orders,"
        " order_line, reservation, lock_per_location, columns)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING 1",
        {TEXTOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, BOOLOID,
         JSONBOID},
        params);
    if (rows.empty()) {
        throw NameIsBound(request.name);
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
    for (const Oid table : request.tables) {
        if (OidIsValid(table)) {
            CheckOwner(table);
        }
    }
    std::array<Oid, kTableIds> tables = request.tables;
    Oid &movement = tables[static_cast<size_t>(TableId::kMovement)];
    if (!OidIsValid(movement)) {
        const auto variant = TypeOfRole(request, "variant_id");
        if (!variant) {
            throw pg::SqlError(pg::kBindingInvalid,
                               "table " + RelationName(request.stock_level) + " has no column \"" +
                                   NameOfRole(request, "variant_id").value_or("") + "\"",
                               "The column is bound as variant_id.");
        }
        movement = CreateMovementTable(request.stock_level, *variant,
                                       TypeOfRole(request, "location_id").value_or("text"));
        CheckOwner(movement);
    }
    Write(request, tables);
    const std::shared_ptr<Binding> binding = Binding::Resolve(request.name);
    const std::vector<Finding> findings = Inspection(*binding).Run();
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
        return Inspection(*Binding::Resolve(name)).Run();
    } catch (const pg::SqlError &error) {
        if (error.sqlstate() != pg::kBindingInvalid) {
            throw;
        }
        return {{true, "", error.message(), error.hint()}};
    }
}

}  // namespace inventory_lock::commerce
