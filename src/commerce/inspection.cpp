// Looks a binding's tables over: see inspection.hpp. Runs in: backends.

#include "commerce/inspection.hpp"

#include "commerce/order_writer.hpp"
#include "commerce/roles.hpp"
#include "commerce/sql_text.hpp"
#include "commerce/tables.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <parser/parse_coerce.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

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

bool IsJson(Oid type) {
    return type == JSONBOID || type == JSONOID;
}

bool IsLimit(Oid type) {
    return IsQuantity(type) || type == BOOLOID;
}

// Is a row found by these columns alone? `exactly`: an index over all of them and no others, as ON
// CONFLICT needs it; else one over some of them is enough.
// `condition`: of a partial index that will do, too.
bool IsUnique(Oid relation, const std::vector<std::string> &columns, bool exactly,
              const std::string &condition) {
    const std::string sql =
        "SELECT pg_catalog.bool_or(i.names OPERATOR(pg_catalog.<@) $2" +
        std::string(exactly ? " AND i.names OPERATOR(pg_catalog.@>) $2" : "") +
        ") FROM (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text) AS names"
        " FROM pg_catalog.pg_index x CROSS JOIN LATERAL"
        " pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, n)"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) x.indrelid"
        " AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
        " WHERE x.indrelid OPERATOR(pg_catalog.=) $1 AND x.indisunique AND x.indimmediate"
        " AND x.indisvalid AND x.indexprs IS NULL AND (x.indpred IS NULL"
        " OR pg_catalog.pg_get_expr(x.indpred, x.indrelid) OPERATOR(pg_catalog.=) " +
        QuoteLiteral(condition) +
        ")"
        " AND k.n OPERATOR(pg_catalog.<=) x.indnkeyatts GROUP BY x.indexrelid) i";
    return Ask(sql.c_str(), relation, columns);
}

// Since 18 a column can be marked as NOT NULL while NULLs of before are still in it: by a
// constraint that is not valid.
bool AnyNullable(Oid relation, const std::vector<std::string> &columns) {
    return Ask(
        "SELECT pg_catalog.bool_or(NOT a.attnotnull OR EXISTS (SELECT FROM "
        "pg_catalog.pg_constraint c"
        " WHERE c.conrelid OPERATOR(pg_catalog.=) a.attrelid AND NOT c.convalidated"
        " AND c.contype OPERATOR(pg_catalog.=) 'n'::pg_catalog.\"char\""
        " AND a.attnum OPERATOR(pg_catalog.=) ANY (c.conkey)))"
        " FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1"
        " AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
        relation, columns);
}

// Collects what is wrong with the tables of one binding.
class Inspection final {
  public:
    explicit Inspection(const Binding &binding) : binding_(binding) {}

    std::vector<Finding> Run() {
        for (size_t i = 0; i < kTableIds; i++) {
            Persistence(static_cast<TableId>(i));
            Writable(static_cast<TableId>(i));
        }
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
            CheckType(TableId::kOrders, "data", IsJson, "jsonb or json");
            CheckType(TableId::kOrders, "response", IsJson, "jsonb or json");
            OrderWriter();
            CheckUnique(TableId::kOrderLine, {"order_id", "line_no"}, false);
            CheckType(TableId::kOrderLine, "variant_id", IsId, kIdTypes);
            CheckType(TableId::kOrderLine, "quantity", IsQuantity, kQuantityTypes);
            CheckCount(TableId::kOrderLine, "cancelled");
            CheckCount(TableId::kOrderLine, "fulfilled");
            CheckCount(TableId::kOrderLine, "returned");
        }
        if (binding_.has(TableId::kReservation)) {
            CheckType(TableId::kReservation, "variant_id", IsId, kIdTypes);
            CheckType(TableId::kReservation, "quantity", IsQuantity, kQuantityTypes);
            CheckCount(TableId::kReservation, "confirmed");
            CheckUnique(TableId::kReservation, {"reservation_id", "line_no"}, false);
        }
        return std::move(findings_);
    }

  private:
    static constexpr const char *kIdTypes = "an integer, uuid, text, varchar or numeric";
    static constexpr const char *kQuantityTypes = "smallint, integer, bigint or numeric";
    static constexpr const char *kLimitTypes = "smallint, integer, bigint, numeric or boolean";

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

    // A number that begins at its default and is added to.
    void CheckCount(TableId id, const char *role) {
        const Column *const column = binding_.find(id, role);
        if (column == nullptr) {
            return;
        }
        CheckType(id, role, IsQuantity, kQuantityTypes);
        const Oid relation = binding_.table(id).oid;
        const bool has_default =
            Ask("SELECT pg_catalog.bool_and(atthasdef) FROM pg_catalog.pg_attribute"
                " WHERE attrelid OPERATOR(pg_catalog.=) $1"
                " AND attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
                relation, {column->name});
        if (!has_default || AnyNullable(relation, {column->name})) {
            Error(id, "column \"" + column->name + "\" must be NOT NULL with a default of 0",
                  "ALTER TABLE " + binding_.table(id).name + " ALTER " + QuoteName(column->name) +
                      " SET DEFAULT 0, ALTER " + QuoteName(column->name) + " SET NOT NULL;");
        }
    }

    void OrderWriter() {
        if (binding_.order_writer().empty()) {
            return;
        }
        if (!OrderWriterExists(binding_.order_writer())) {
            Error(TableId::kOrders,
                  "function " + OrderWriterText(binding_.order_writer()) + " no longer exists");
        }
        CheckType(
            TableId::kOrders, "order_id",
            [](Oid type) { return type == TEXTOID || type == VARCHAROID; },
            "text or varchar to hold what the order writer returns");
    }

    void Persistence(TableId id) {
        if (!binding_.has(id)) {
            return;
        }
        const Oid relation = binding_.table(id).oid;
        const char persistence = pg::Call([relation] { return get_rel_persistence(relation); });
        if (persistence == RELPERSISTENCE_TEMP) {
            Error(id, "a temporary table is seen by one session only");
        } else if (persistence == RELPERSISTENCE_UNLOGGED) {
            Warn(id, "an unlogged table is empty after a crash, and on standbys",
                 "ALTER TABLE " + binding_.table(id).name + " SET LOGGED;");
        }
    }

    // Nothing can be written to a column that PostgreSQL computes. Roles that only few functions
    // write may be computed where these functions are not wanted.
    void Writable(TableId id) {
        if (!binding_.has(id)) {
            return;
        }
        for (const Role &role : RolesOf(id)) {
            const Column *const column = binding_.find(id, role.name);
            const bool written = (role.flags & (kWritten | kInserted)) != 0;
            if (column != nullptr && written &&
                Ask("SELECT pg_catalog.bool_or(attgenerated OPERATOR(pg_catalog.<>)"
                    " ''::pg_catalog.\"char\" OR attidentity OPERATOR(pg_catalog.=)"
                    " 'a'::pg_catalog.\"char\") FROM pg_catalog.pg_attribute"
                    " WHERE attrelid OPERATOR(pg_catalog.=) $1"
                    " AND attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY($2)",
                    binding_.table(id).oid, {column->name})) {
                Error(id,
                      "column \"" + column->name +
                          "\" is generated always, but has to be written as " + role.name,
                      (role.flags & kRequired) != 0
                          ? ""
                          : "Bind another column, or none: columns => '{\"" +
                                std::string(RolesOf(id).table) + "\": {\"" + role.name +
                                "\": null}}'.");
            }
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
        const Column *const deleted_at =
            id == TableId::kStockLevel ? binding_.find(id, "deleted_at") : nullptr;
        const std::string condition =
            deleted_at == nullptr ? "" : "(" + QuoteName(deleted_at->name) + " IS NULL)";
        if (!IsUnique(relation, columns, exactly, condition)) {
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
        for (const char *const role : {"on_hand", "held", "safety_stock", "low_stock_threshold"}) {
            CheckType(id, role, IsQuantity, kQuantityTypes);
        }
        CheckType(id, "backorder_limit", IsLimit, kLimitTypes);
        CheckUnique(id, {"variant_id", "location_id"}, false);
        const std::string on_hand = binding_.column(id, "on_hand").name;
        if (AnyNullable(relation, {on_hand})) {
            Error(id, "column \"" + on_hand + "\" can be NULL", "Make it NOT NULL.");
        }
        if (binding_.find(id, "fence") == nullptr && !binding_.fences_in_ledger()) {
            Warn(id,
                 "no column for the fence here or in the movements: a writer whose lock has gone to"
                 " somebody else is not recognized",
                 "Add a column, bigint NOT NULL DEFAULT 0, and bind it as fence.");
        }
        if (const std::string outbox = FindOutbox(relation);
            !binding_.has(TableId::kOutbox) && !outbox.empty()) {
            Warn(id, "no events are written to " + outbox,
                 "Call inventory_lock.create_outbox(" + QuoteLiteral(binding_.name()) + ").");
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
                 " AND COALESCE((pg_catalog.to_jsonb(c)"
                 " OPERATOR(pg_catalog.->>) 'conenforced')::pg_catalog.bool, true)"
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

}  // namespace

bool Ask(const char *sql, Oid relation, const std::vector<std::string> &names) {
    Params params;
    params.Value(ObjectIdGetDatum(relation)).TextArray(names);
    const Rows rows = RunOnce(sql, {OIDOID, TEXTARRAYOID}, params);
    return !rows.empty() && rows.Bool(0, 0);
}

std::vector<Finding> Inspect(const Binding &binding) {
    return Inspection(binding).Run();
}

}  // namespace inventory_lock::commerce
