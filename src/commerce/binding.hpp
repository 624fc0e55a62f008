// A binding: which tables hold a shop's stock and orders, and what their columns are called.
//
// Runs in: backends. The catalogue table inventory_lock.binding names tables by OID (regclass) and
// columns by name; a *role* is the name this extension uses for a column, the same as the column's
// name in the tables that create_tables makes. Everything in commerce/ reaches the user's tables
// through a Binding, so that it works over any names and id types.
//
// A backend loads a binding once and keeps it with its plans. Invalidation messages about any of
// its tables, about the catalogue table or about schemas mark it as stale; the next call loads it
// again, and keeps the plans when nothing that stands in their text has changed. A call holds
// the Binding it began with (shared_ptr), also when a trigger in the middle loads a newer one.

#pragma once

#include <array>

#include "commerce/spi.hpp"

namespace inventory_lock::commerce {

enum class TableId : uint8 {
    kStockLevel,
    kMovement,
    kOrders,
    kOrderLine,
    kReservation,
    kOutbox,
    kOutboxConsumer,
};
inline constexpr size_t kTableIds = 7;
// The tables that bind() is given; create_outbox makes the others and adds them.
inline constexpr size_t kTablesOfBind = 5;

// Every statement whose plan is kept. One list, because a plan belongs to one binding.
enum class PlanId : uint8 {
    kPeekLevels,
    kPeekProducts,
    kLockLevel,
    kLockLevelNoKey,
    kLockLevels,
    kLockLevelsNoKey,
    kWriteLevel,
    kWriteLevelAndHeld,
    kWriteMovement,
    kWriteLevels,
    kWriteLevelsOnly,
    kFindRequest,
    kFindSales,
    kFindOrder,
    kWriteOrder,
    kWriteOrderRows,
    kReadOrder,
    kReadOrderLines,
    kLockOrderLines,
    kCountBought,
    kFindCancellation,
    kWriteCancellation,
    kWriteFulfilment,
    kFindReturn,
    kWriteReturn,
    kWriteOrderFromHold,
    kWriteOrderRowsFromHold,
    kWriteReservation,
    kReadReservation,
    kLockReservation,
    kWriteReservationEnd,
    kExtendReservation,
    kFindExpired,
    kLockExpired,
    kReadDerived,
    kWriteOwnOrder,
    kWriteEvents,
    kFindUnnumberedEvents,
    kNumberEvents,
    kReadEvents,
    kAddConsumer,
    kFindConsumer,
    kAcknowledgeEvents,
    kPlanIds,
};

// A column that a role is bound to.
struct Column {
    std::string name;  // as it is, not quoted
    AttrNumber number = InvalidAttrNumber;
    Oid type = InvalidOid;  // domains are resolved to their base type
    std::string type_name;  // qualified, for casts

    bool operator==(const Column &other) const {
        return name == other.name && number == other.number && type == other.type;
    }
};

// InvalidAttrNumber for no column.
inline AttrNumber NumberOf(const Column *column) {
    return column != nullptr ? column->number : AttrNumber{InvalidAttrNumber};
}

struct Table {
    Oid oid = InvalidOid;
    std::string name;                                    // qualified and quoted
    std::map<std::string, Column, std::less<>> columns;  // by role; absent roles are not in it

    const Column *Find(std::string_view role) const;
    bool operator==(const Table &other) const {
        return oid == other.oid && name == other.name && columns == other.columns;
    }
};

// An index by which rows are found without a plan: see direct_index.hpp.
struct DirectIndex {
    struct Key {
        Oid type;
        Oid collation;
        RegProcedure equal;
    };
    Oid oid = InvalidOid;  // none: there is no such way
    bool second = false;   // it goes on with the second of the columns asked for
    Key keys[2] = {};
};

// Where a role's column is; InvalidAttrNumber: the table has none.
struct ColumnPlace {
    AttrNumber number = InvalidAttrNumber;
    Oid type = InvalidOid;
    int32 modifier = -1;
};

// How a row of the stock levels is found without a plan: see direct_level.hpp.
struct LevelAccess {
    static constexpr size_t kColumns = 9;

    bool known = false;  // it has been looked for
    DirectIndex index;   // by variant and location
    ColumnPlace columns[kColumns] = {};
};

struct DirectTable;

// A table whose rows are written without plans: see direct_rows.hpp.
struct DirectRows {
    static constexpr size_t kMostColumns = 14;
    DirectTable *table = nullptr;  // none: there is no such way
    ColumnPlace columns[kMostColumns] = {};
};

// How a change is written without plans: see direct_write.hpp.
struct DirectWrites {
    bool known = false;
    DirectRows level;
    DirectRows movement;
};

// How an order is found and written without plans: see direct_order.hpp.
struct DirectOrders {
    bool index_known = false;
    DirectIndex by_key;  // by user and idempotency key
    bool known = false;
    NameData unique = {};  // the index that keeps these unique
    DirectRows order;
    DirectRows line;
};

class Binding final {
  public:
    using Builder = std::unique_ptr<Statement> (*)(const Binding &binding);

    // The binding of this name, up to date. Throws IL050, IL051, 22023.
    static std::shared_ptr<Binding> Resolve(const std::string &name);

    const std::string &name() const { return name_; }
    bool has(TableId id) const { return table(id, nullptr) != nullptr; }
    const Table &table(TableId id) const;  // IL051 when the binding has no such table

    // The column of a role; IL051 when the table has none.
    const Column &column(TableId id, std::string_view role) const;
    const Column *find(TableId id, std::string_view role) const;

    bool lock_per_location() const { return lock_per_location_; }
    // The function that makes the shop's own orders (order_writer.hpp); empty: none.
    const std::string &order_writer() const { return order_writer_; }
    // Do foreign keys of other tables point at the stock levels?
    bool referenced() const { return referenced_; }

    // What the stock table has no column for: units on hold are counted in the reservations, the
    // last fence is in the ledger.
    bool counts_holds() const;
    bool fences_in_ledger() const;

    // The kept plan, made with `build` when it is needed for the first time.
    Statement &Plan(PlanId id, Builder build);

    // Expands a statement's text; the syntax is described in sql_text.hpp.
    std::string Sql(std::string_view text) const;

    // What was last seen of variants' products; may be old. See product.hpp.
    std::map<std::string, std::vector<std::string>> &seen_products() { return seen_products_; }

    // False from when something about the tables has changed until the binding is resolved again:
    // in the middle of a call when a user's code (a trigger of the orders, say) did that.
    bool is_current() const;

    // Another one whenever the tables may have changed since, also while a call is at work: what
    // was found in them before, a row's place too, may be something else now.
    uint64 generation() const { return generation_; }

    // Kept with the plans; made by whoever needs it first. Only for a binding that is current.
    LevelAccess &access() { return access_; }
    DirectWrites &writes() { return writes_; }
    DirectOrders &orders() { return orders_; }

  private:
    Binding() = default;
    static std::shared_ptr<Binding> Load(const std::string &name);
    const Table *table(TableId id, std::nullptr_t) const;
    bool SameText(const Binding &other) const;
    void FreePlans();
    void ForgetTables();

    std::string name_;
    uint64 generation_ = 1;
    std::array<Table, kTableIds> tables_;
    bool lock_per_location_ = false;
    std::string order_writer_;
    bool referenced_ = false;
    std::map<std::string, std::vector<std::string>> seen_products_;
    LevelAccess access_;
    DirectWrites writes_;
    DirectOrders orders_;
    std::array<std::unique_ptr<Statement>, static_cast<size_t>(PlanId::kPlanIds)> plans_;
    friend class BindingCache;
};

// What a call is going to do with a table.
struct Access {
    TableId table;
    AclMode mode;           // ACL_SELECT, ACL_INSERT, ACL_UPDATE, joined with |
    bool if_bound = false;  // nothing to check where the binding has no such table
};

// What whoever changes levels needs for their events.
inline constexpr Access kEventAccess = {TableId::kOutbox, ACL_INSERT, true};

// Resolves a binding for a call: checks that the caller may do all this (42501) and that the
// server accepts writes (25006), and locks the tables against changes of their definition until the
// transaction ends. Nothing else has been locked yet then.
std::shared_ptr<Binding> OpenBinding(const std::string &name, const std::vector<Access> &access);

// Does row level security restrict the caller on this table?
bool RowSecurityApplies(const Table &table);

}  // namespace inventory_lock::commerce
