// Loads bindings and keeps them up to date: see binding.hpp.
//
// The cache is a backend-local map that is never destroyed (a FATAL exit runs no destructors, and
// needs none). The invalidation callbacks only set a flag: they may run inside any catalogue
// access.

#include "commerce/binding.hpp"

#include "commerce/direct_rows.hpp"
#include "commerce/roles.hpp"
#include "commerce/sql_text.hpp"

extern "C" {
#include <catalog/namespace.h>
#include <catalog/pg_class.h>
#include <catalog/pg_type.h>
#include <storage/lmgr.h>
#include <utils/acl.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/rls.h>
#include <utils/syscache.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kTableGoneHint =
    "Call inventory_lock.create_tables again if it made the table; otherwise inventory_lock.unbind,"
    " then inventory_lock.bind.";
constexpr const char *kOutboxGoneHint = "Call inventory_lock.create_outbox.";
constexpr const char *kColumnGoneHint =
    "Name the column when calling inventory_lock.bind. If the binding exists already, call"
    " inventory_lock.unbind first.";

// Set by the callbacks, cleared when everything cached has been looked at again.
bool cache_is_stale = false;

// The tables whose changes matter, sorted; never freed.
std::vector<Oid> *watched_relations = nullptr;

void OnRelationChange(Datum, Oid relation) {
    if (!OidIsValid(relation) ||
        std::binary_search(watched_relations->begin(), watched_relations->end(), relation)) {
        cache_is_stale = true;
    }
}

void OnSchemaChange(Datum, int, uint32) {
    cache_is_stale = true;
}

void RegisterCallbacks() {
    watched_relations = std::make_unique<std::vector<Oid>>().release();
    pg::Call([] {
        CacheRegisterRelcacheCallback(OnRelationChange, static_cast<Datum>(0));
        CacheRegisterSyscacheCallback(NAMESPACEOID, OnSchemaChange, static_cast<Datum>(0));
    });
}

void Watch(Oid relation) {
    const auto place =
        std::lower_bound(watched_relations->begin(), watched_relations->end(), relation);
    if (place == watched_relations->end() || *place != relation) {
        watched_relations->insert(place, relation);
    }
}

// A relation's column by name, without its dropped columns.
Column FindColumn(Oid relation, const std::string &name) {
    Column column;
    column.name = name;
    const char *const text = name.c_str();
    column.number = pg::Call([=] { return get_attnum(relation, text); });
    if (column.number <= 0) {
        column.number = InvalidAttrNumber;
        return column;
    }
    const AttrNumber number = column.number;
    column.type = pg::Call([=] { return getBaseType(get_atttype(relation, number)); });
    const Oid type = column.type;
    column.type_name = pg::Call([=] { return format_type_be_qualified(type); });
    return column;
}

// The names the binding gives to roles: table and role → column, nullopt for "has none".
using ColumnNames = std::map<std::pair<std::string, std::string>, std::optional<std::string>>;

ColumnNames LoadColumnNames(const std::string &binding) {
    Params params;
    params.Text(binding);
    const Rows rows = RunOnce(
        "SELECT t.key, c.key, c.value FROM inventory_lock.binding b"
        " CROSS JOIN LATERAL pg_catalog.jsonb_each(b.columns) t"
        " CROSS JOIN LATERAL pg_catalog.jsonb_each_text(t.value) c"
        " WHERE b.name OPERATOR(pg_catalog.=) $1",
        {TEXTOID}, params);
    ColumnNames names;
    for (size_t i = 0; i < rows.size(); i++) {
        names[{rows.Text(i, 0), rows.Text(i, 1)}] = rows.OptionalText(i, 2);
    }
    return names;
}

Table LoadTable(const std::string &binding, Oid relation, const RoleList &roles,
                const ColumnNames &names) {
    Table table;
    table.oid = relation;
    table.name = RelationName(relation);
    const std::string what = "binding \"" + binding + "\"";
    if (table.name.empty()) {
        throw pg::SqlError(pg::kBindingInvalid,
                           what + ": the " + roles.table + " table no longer exists", {},
                           roles.first == kOutboxRoles ? kOutboxGoneHint : kTableGoneHint);
    }
    const char kind = pg::Call([relation] { return get_rel_relkind(relation); });
    if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) {
        throw pg::SqlError(pg::kBindingInvalid, what + ": " + table.name + " is not a table");
    }
    for (const Role &role : roles) {
        const auto given = names.find({roles.table, role.name});
        if (given != names.end() && !given->second) {
            continue;
        }
        const std::string column_name = given != names.end() ? *given->second : role.name;
        Column column = FindColumn(relation, column_name);
        if (column.number != InvalidAttrNumber) {
            table.columns.emplace(role.name, std::move(column));
        } else if (given != names.end() || (role.flags & kRequired) != 0) {
            throw pg::SqlError(
                pg::kBindingInvalid,
                what + ": table " + table.name + " has no column \"" + column_name + "\"",
                "The column is bound as " + std::string(role.name) + ".", kColumnGoneHint);
        }
    }
    return table;
}

bool HasForeignKeysOnto(Oid relation) {
    Params params;
    params.Value(ObjectIdGetDatum(relation));
    const Rows rows = RunOnce(
        "SELECT 1 FROM pg_catalog.pg_constraint"
        " WHERE confrelid OPERATOR(pg_catalog.=) $1"
        " AND contype OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\" LIMIT 1",
        {OIDOID}, params);
    return !rows.empty();
}

}  // namespace

// The bindings a backend has loaded.
class BindingCache final {
  public:
    static BindingCache &Get() {
        static BindingCache *cache = nullptr;
        if (cache == nullptr) {
            RegisterCallbacks();
            cache = std::make_unique<BindingCache>().release();
        }
        return *cache;
    }

    std::shared_ptr<Binding> Resolve(const std::string &name) {
        if (cache_is_stale) {
            cache_is_stale = false;
            for (auto &entry : bindings_) {
                stale_.insert(entry.first);
            }
        }
        const auto known = bindings_.find(name);
        if (known != bindings_.end() && stale_.count(name) == 0) {
            return known->second;
        }
        FreeRetired();
        std::shared_ptr<Binding> loaded = Binding::Load(name);
        if (known != bindings_.end()) {
            if (known->second->SameText(*loaded)) {
                known->second->ForgetTables();
                stale_.erase(name);
                return known->second;
            }
            retired_.push_back(known->second);
        }
        bindings_[name] = loaded;
        stale_.erase(name);
        return loaded;
    }

    bool IsCurrent(const Binding &binding) const {
        const auto known = bindings_.find(binding.name());
        return !cache_is_stale && stale_.count(binding.name()) == 0 && known != bindings_.end() &&
               known->second.get() == &binding;
    }

  private:
    // Plans may be freed only when no call that is still running uses them.
    void FreeRetired() {
        for (size_t i = 0; i < retired_.size();) {
            if (retired_[i].use_count() == 1) {
                retired_[i]->FreePlans();
                retired_.erase(retired_.begin() + static_cast<ptrdiff_t>(i));
            } else {
                i++;
            }
        }
    }

    std::map<std::string, std::shared_ptr<Binding>> bindings_;
    std::set<std::string> stale_;
    std::vector<std::shared_ptr<Binding>> retired_;
};

const Column *Table::Find(std::string_view role) const {
    const auto found = columns.find(role);
    return found == columns.end() ? nullptr : &found->second;
}

std::shared_ptr<Binding> Binding::Resolve(const std::string &name) {
    return BindingCache::Get().Resolve(name);
}

std::shared_ptr<Binding> Binding::Load(const std::string &name) {
    Params params;
    params.Text(name);
    const Rows rows = RunOnce(
        "SELECT tableoid::pg_catalog.int8, stock_level::pg_catalog.oid::pg_catalog.int8,"
        " movement::pg_catalog.oid::pg_catalog.int8, orders::pg_catalog.oid::pg_catalog.int8,"
        " order_line::pg_catalog.oid::pg_catalog.int8,"
        " reservation::pg_catalog.oid::pg_catalog.int8, outbox::pg_catalog.oid::pg_catalog.int8,"
        " outbox_consumer::pg_catalog.oid::pg_catalog.int8, lock_per_location, order_writer"
        " FROM inventory_lock.binding WHERE name OPERATOR(pg_catalog.=) $1",
        {TEXTOID}, params);
    if (rows.empty()) {
        throw pg::SqlError(pg::kBindingNotFound, "binding \"" + name + "\" does not exist", {},
                           "Call inventory_lock.create_tables, or inventory_lock.bind for tables"
                           " that exist already.");
    }
    std::shared_ptr<Binding> binding(new Binding);
    binding->name_ = name;
    Watch(static_cast<Oid>(rows.Int8(0, 0)));
    binding->lock_per_location_ = rows.Bool(0, kTableIds + 1);
    binding->order_writer_ = rows.Text(0, kTableIds + 2);
    const ColumnNames names = LoadColumnNames(name);
    for (size_t i = 0; i < kTableIds; i++) {
        if (const auto relation = rows.OptionalInt8(0, static_cast<int>(i) + 1)) {
            Watch(static_cast<Oid>(*relation));
            binding->tables_[i] = LoadTable(name, static_cast<Oid>(*relation), kRoles[i], names);
        }
    }
    binding->referenced_ = HasForeignKeysOnto(binding->table(TableId::kStockLevel).oid);
    return binding;
}

bool Binding::is_current() const {
    return BindingCache::Get().IsCurrent(*this);
}

const Table *Binding::table(TableId id, std::nullptr_t) const {
    const Table &table = tables_[static_cast<size_t>(id)];
    return OidIsValid(table.oid) ? &table : nullptr;
}

const Table &Binding::table(TableId id) const {
    const Table *const found = table(id, nullptr);
    if (found == nullptr) {
        throw pg::SqlError(pg::kBindingInvalid,
                           "binding \"" + name_ + "\" has no " + RolesOf(id).table + " table");
    }
    return *found;
}

const Column *Binding::find(TableId id, std::string_view role) const {
    return table(id).Find(role);
}

const Column &Binding::column(TableId id, std::string_view role) const {
    const Column *const found = find(id, role);
    if (found == nullptr) {
        throw pg::SqlError(pg::kBindingInvalid, "binding \"" + name_ + "\" has no column for " +
                                                    RolesOf(id).table + "." + std::string(role));
    }
    return *found;
}

bool Binding::counts_holds() const {
    return has(TableId::kReservation) && find(TableId::kStockLevel, "held") == nullptr;
}

bool Binding::fences_in_ledger() const {
    return find(TableId::kStockLevel, "fence") == nullptr &&
           find(TableId::kMovement, "fence") != nullptr &&
           find(TableId::kMovement, "movement_id") != nullptr;
}

Statement &Binding::Plan(PlanId id, Builder build) {
    std::unique_ptr<Statement> &plan = plans_[static_cast<size_t>(id)];
    if (plan == nullptr) {
        plan = build(*this);
    }
    return *plan;
}

bool Binding::SameText(const Binding &other) const {
    return tables_ == other.tables_ && lock_per_location_ == other.lock_per_location_ &&
           order_writer_ == other.order_writer_ && referenced_ == other.referenced_;
}

// What was made ready for the tables as they were: an index may be another one.
void Binding::ForgetTables() {
    generation_++;
    access_ = {};
    for (DirectRows *const rows :
         {&writes_.level, &writes_.movement, &orders_.order, &orders_.line}) {
        ForgetRows(rows);
    }
    writes_ = {};
    orders_ = {};
}

void Binding::FreePlans() {
    ForgetTables();
    for (const auto &plan : plans_) {
        if (plan != nullptr) {
            plan->Free();
        }
    }
}

namespace {

// One privilege on a table: on the whole of it, or on each column that is going to be used.
void CheckPrivilege(const Binding &binding, TableId id, AclMode mode) {
    const Table &table = binding.table(id);
    const Oid relation = table.oid;
    const bool granted =
        pg::Call([=] { return pg_class_aclcheck(relation, GetUserId(), mode) == ACLCHECK_OK; });
    if (granted) {
        return;
    }
    for (const Role &role : RolesOf(id)) {
        const Column *const column = table.Find(role.name);
        const bool used = mode == ACL_SELECT || (mode == ACL_INSERT && (role.flags & kInserted)) ||
                          (mode == ACL_UPDATE && (role.flags & kWritten));
        if (column == nullptr || !used) {
            continue;
        }
        const AttrNumber number = column->number;
        pg::Call([=] {
            const AclResult result = pg_attribute_aclcheck(relation, number, GetUserId(), mode);
            if (result != ACLCHECK_OK) {
                aclcheck_error(result, OBJECT_TABLE, get_rel_name(relation));
            }
        });
    }
}

void CheckAccess(const Binding &binding, const std::vector<Access> &access) {
    const bool levels = std::any_of(access.begin(), access.end(), [](const Access &item) {
        return item.table == TableId::kStockLevel;
    });
    if (levels && binding.counts_holds()) {
        CheckPrivilege(binding, TableId::kReservation, ACL_SELECT);
        if (RowSecurityApplies(binding.table(TableId::kReservation))) {
            throw pg::SqlError(
                ERRCODE_INSUFFICIENT_PRIVILEGE,
                "row level security hides reservations from the caller: what is held is not known",
                {},
                "Bind a column of the stock table as held, or let the caller see all of " +
                    binding.table(TableId::kReservation).name + ".");
        }
    }
    if (levels && binding.fences_in_ledger()) {
        CheckPrivilege(binding, TableId::kMovement, ACL_SELECT);
    }
    for (const Access &item : access) {
        if (item.if_bound && !binding.has(item.table)) {
            continue;
        }
        for (const AclMode mode : {ACL_SELECT, ACL_INSERT, ACL_UPDATE}) {
            if ((item.mode & mode) != 0) {
                CheckPrivilege(binding, item.table, mode);
            }
        }
    }
}

}  // namespace

std::shared_ptr<Binding> OpenBinding(const std::string &name, const std::vector<Access> &access) {
    pg::Call([] { AcceptInvalidationMessages(); });
    while (true) {
        std::shared_ptr<Binding> binding = Binding::Resolve(name);
        CheckAccess(*binding, access);
        for (const Access &item : access) {
            if (item.if_bound && !binding->has(item.table)) {
                continue;
            }
            const Oid relation = binding->table(item.table).oid;
            const LOCKMODE mode = item.mode == ACL_SELECT ? AccessShareLock : RowExclusiveLock;
            pg::Call([=] { LockRelationOid(relation, mode); });
        }
        // Waiting for a lock may have let a change of the tables through.
        if (!cache_is_stale) {
            return binding;
        }
    }
}

bool RowSecurityApplies(const Table &table) {
    const Oid relation = table.oid;
    return pg::Call(
        [relation] { return check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED; });
}

}  // namespace inventory_lock::commerce
