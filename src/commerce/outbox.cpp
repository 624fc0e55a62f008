// Writes and reads events: see outbox.hpp for how none is skipped.

#include "commerce/outbox.hpp"

#include "commerce/adjustment.hpp"
#include "pg/settings.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <commands/async.h>
#include <commands/sequence.h>
#include <miscadmin.h>
#include <storage/lock.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kChannel = "inventory_lock";
constexpr uint16 kNumberingClass = 0x494D;  // beside the gates' 0x494C

std::unique_ptr<Statement> BuildWriteEvents(const Binding &binding) {
    const std::string insert =
        InsertSelect(binding, TableId::kOutbox,
                     {{"occurred_at", "pg_catalog.clock_timestamp()"},
                      {"kind", "u.kind"},
                      {"variant_id", "u.variant_id::{type:outbox.variant_id}"},
                      {"location_id", "u.location_id::{type:outbox.location_id}"},
                      {"available_before", "u.available_before"},
                      {"available", "u.available"}});
    return std::make_unique<Statement>(
        insert +
            " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
            " pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"
            " AS u (kind, variant_id, location_id, available_before, available)",
        std::vector<Oid>{TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID});
}

std::unique_ptr<Statement> BuildFindUnnumbered(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{outbox.event_id})::pg_catalog.int8 FROM {outbox} s"
                    " WHERE s.{outbox.position} IS NULL ORDER BY s.{outbox.event_id} LIMIT $1"),
        std::vector<Oid>{INT8OID});
}

// The ids are sorted, so each is looked up among them. In a join the planner, which expects hardly
// any event without a position, might compare each with each.
std::unique_ptr<Statement> BuildNumber(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("UPDATE {outbox} s SET {outbox.position} ="
                    " ($2)[pg_catalog.width_bucket((s.{outbox.event_id})::pg_catalog.int8, $1)]"
                    " WHERE s.{outbox.position} IS NULL AND s.{outbox.event_id}{<=}$3 AND"
                    " ($1)[pg_catalog.width_bucket((s.{outbox.event_id})::pg_catalog.int8, "
                    "$1)]{=}s.{outbox.event_id}"),
        std::vector<Oid>{INT8ARRAYOID, INT8ARRAYOID, INT8OID});
}

std::unique_ptr<Statement> BuildRead(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT s.{outbox.position}, s.{outbox.event_id}, s.{outbox.occurred_at},"
                    " (s.{outbox.kind})::pg_catalog.text, (s.{outbox.variant_id})::pg_catalog.text,"
                    " (s.{outbox.location_id})::pg_catalog.text, s.{outbox.available_before},"
                    " s.{outbox.available} FROM {outbox} s WHERE s.{outbox.position}{>}$1"
                    " ORDER BY s.{outbox.position} LIMIT $2"),
        std::vector<Oid>{INT8OID, INT8OID});
}

std::unique_ptr<Statement> BuildAddConsumer(const Binding &binding) {
    return std::make_unique<Statement>(
        InsertSelect(binding, TableId::kOutboxConsumer, {{"consumer", "$1"}}) +
            " ON CONFLICT DO NOTHING",
        std::vector<Oid>{TEXTOID});
}

// Where a consumer is, and the last position that has been given out and is still there.
std::unique_ptr<Statement> BuildFindConsumer(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT c.{outbox_consumer.position}, (SELECT pg_catalog.max("
                    "s.{outbox.position}) FROM {outbox} s) FROM {outbox_consumer} c"
                    " WHERE c.{outbox_consumer.consumer}{=}$1"),
        std::vector<Oid>{TEXTOID});
}

// Waits for whoever else acknowledges for this consumer, and never goes back.
std::unique_ptr<Statement> BuildAcknowledge(const Binding &binding) {
    const std::string set = SetList(binding, TableId::kOutboxConsumer,
                                    {{"position", "GREATEST(s.{outbox_consumer.position}, $2)"},
                                     {"acknowledged_at", "pg_catalog.clock_timestamp()"}});
    return std::make_unique<Statement>(binding.Sql("UPDATE {outbox_consumer} s SET ") + set +
                                           binding.Sql(" WHERE s.{outbox_consumer.consumer}{=}$1"
                                                       " RETURNING s.{outbox_consumer.position}"),
                                       std::vector<Oid>{TEXTOID, INT8OID});
}

struct Crossings {
    std::vector<std::string> kinds;
    std::vector<std::string> variants;
    std::vector<std::string> locations;
    std::vector<int64> before;
    std::vector<int64> after;
};

void AddCrossing(const StockChange &change, Crossings *crossings) {
    Level after;
    after.on_hand = change.level.on_hand + change.delta;
    after.held = change.level.held + change.held_delta;
    after.safety_stock = change.level.safety_stock;
    after.low_stock_threshold = change.level.low_stock_threshold;
    const char *const kind = CrossingOf(change.level, after);
    if (kind == nullptr) {
        return;
    }
    crossings->kinds.emplace_back(kind);
    crossings->variants.push_back(change.variant.text);
    crossings->locations.push_back(change.level.location);
    crossings->before.push_back(change.level.Available());
    crossings->after.push_back(after.Available());
}

void Write(Binding &binding, const Crossings &crossings) {
    if (crossings.kinds.empty()) {
        return;
    }
    Params params;
    params.TextArray(crossings.kinds)
        .TextArray(crossings.variants)
        .TextArray(crossings.locations)
        .Int8Array(crossings.before)
        .Int8Array(crossings.after);
    binding.Plan(PlanId::kWriteEvents, BuildWriteEvents).Run(params);
    if (pg::settings::notify) {
        const char *const payload = binding.name().c_str();
        pg::Call([payload] { Async_Notify(kChannel, payload); });
    }
}

// Until the transaction ends nobody else gives out positions. False when somebody does just now.
bool TryLockNumbering(const Binding &binding) {
    const Oid relation = binding.table(TableId::kOutbox).oid;
    return pg::Call([relation] {
        LOCKTAG tag;
        SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, relation, kNumberingClass);
        return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
    });
}

Oid SequenceOfIds(const Binding &binding) {
    Params params;
    params.Text(binding.table(TableId::kOutbox).name)
        .Text(binding.column(TableId::kOutbox, "event_id").name);
    const Rows rows = RunOnce(
        "SELECT pg_catalog.pg_get_serial_sequence($1, $2)"
        "::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8",
        {TEXTOID, TEXTOID}, params);
    const auto sequence = rows.OptionalInt8(0, 0);
    if (!sequence) {
        throw pg::SqlError(pg::kBindingInvalid, "ids of table " +
                                                    binding.table(TableId::kOutbox).name +
                                                    " come from no sequence of its own");
    }
    return static_cast<Oid>(*sequence);
}

std::vector<int64> FindUnnumbered(Binding &binding, int64 limit) {
    Params params;
    params.Int8(limit);
    const Rows rows = binding.Plan(PlanId::kFindUnnumberedEvents, BuildFindUnnumbered).Run(params);
    std::vector<int64> ids;
    for (size_t i = 0; i < rows.size(); i++) {
        ids.push_back(rows.Int8(i, 0));
    }
    return ids;
}

// The highest position that any consumer has acknowledged. A new one below it would be skipped.
int64 FurthestConsumer(const Binding &binding) {
    const Rows rows = RunOnce(binding.Sql(
        "SELECT pg_catalog.max(s.{outbox_consumer.position}) FROM {outbox_consumer} s"));
    return rows.Int8(0, 0);
}

// Gives positions to events that have none yet. False when there was nothing to do.
bool NumberEvents(Binding &binding, int64 limit) {
    // Looked at again behind the lock: somebody may have done it in between.
    if (FindUnnumbered(binding, 1).empty() || !TryLockNumbering(binding)) {
        return false;
    }
    const std::vector<int64> ids = FindUnnumbered(binding, limit);
    if (ids.empty()) {
        return false;
    }
    const int64 furthest = FurthestConsumer(binding);
    const Oid sequence = SequenceOfIds(binding);
    std::vector<int64> positions;
    for (size_t i = 0; i < ids.size(); i++) {
        positions.push_back(pg::Call([sequence] { return nextval_internal(sequence, false); }));
    }
    if (positions.front() <= furthest) {
        throw pg::SqlError(
            pg::kBindingInvalid,
            "positions of table " + binding.table(TableId::kOutbox).name + " have begun anew",
            "The next one is " + std::to_string(positions.front()) +
                ", but a consumer has acknowledged " + std::to_string(furthest) + " already.",
            "Set the positions in " + binding.table(TableId::kOutboxConsumer).name + " to 0.");
    }
    Params params;
    params.Int8Array(ids).Int8Array(positions).Int8(ids.back());
    binding.Plan(PlanId::kNumberEvents, BuildNumber).Run(params);
    return true;
}

std::shared_ptr<Binding> OpenOutbox(const std::string &name, AclMode on_events, AclMode on_cursor) {
    if (!Binding::Resolve(name)->has(TableId::kOutbox)) {
        throw pg::SqlError(pg::kBindingInvalid, "binding \"" + name + "\" has no outbox table", {},
                           "Call inventory_lock.create_outbox.");
    }
    return OpenBinding(
        name, {{TableId::kOutbox, on_events}, {TableId::kOutboxConsumer, ACL_SELECT | on_cursor}});
}

}  // namespace

const char *CrossingOf(const Level &before, const Level &after) {
    const int64 had = before.Available();
    const int64 has = after.Available();
    if ((had <= 0) != (has <= 0)) {
        return has <= 0 ? "out_of_stock" : "back_in_stock";
    }
    const bool got_low = after.low_stock_threshold && had > *after.low_stock_threshold &&
                         has <= *after.low_stock_threshold;
    return got_low && has > 0 ? "low_stock" : nullptr;
}

void WriteEvents(Binding &binding, const std::vector<StockChange> &changes) {
    if (!binding.has(TableId::kOutbox)) {
        return;
    }
    Crossings crossings;
    for (const StockChange &change : changes) {
        AddCrossing(change, &crossings);
    }
    Write(binding, crossings);
}

void WriteEvent(Binding &binding, const StockChange &change) {
    if (binding.has(TableId::kOutbox)) {
        Crossings crossings;
        AddCrossing(change, &crossings);
        Write(binding, crossings);
    }
}

std::shared_ptr<Binding> OpenForFetching(const std::string &binding) {
    return OpenOutbox(binding, ACL_SELECT | ACL_UPDATE, ACL_INSERT);
}

std::shared_ptr<Binding> OpenForAcknowledging(const std::string &binding) {
    return OpenOutbox(binding, ACL_SELECT, ACL_UPDATE);
}

std::vector<StockEvent> FetchEvents(Binding &binding, const std::string &consumer, int64 limit) {
    Params who;
    who.Text(consumer);
    binding.Plan(PlanId::kAddConsumer, BuildAddConsumer).Run(who);
    const bool numbered = NumberEvents(binding, limit);
    const Rows cursor = binding.Plan(PlanId::kFindConsumer, BuildFindConsumer).Run(who);
    Params params;
    params.Int8(cursor.empty() ? 0 : cursor.Int8(0, 0)).Int8(limit);
    const Rows rows = binding.Plan(PlanId::kReadEvents, BuildRead).Run(params);
    std::vector<StockEvent> events;
    for (size_t i = 0; i < rows.size(); i++) {
        StockEvent event;
        event.position = rows.Int8(i, 0);
        event.event_id = rows.Int8(i, 1);
        bool is_null;
        event.occurred_at = rows.Value(i, 2, &is_null);
        event.kind = rows.Text(i, 3);
        event.variant_id = rows.Text(i, 4);
        event.location_id = rows.Text(i, 5);
        event.available_before = rows.Int8(i, 6);
        event.available = rows.Int8(i, 7);
        events.push_back(event);
    }
    if (!events.empty() && !numbered) {
        FlushBehindFirstWriter();
    }
    return events;
}

int64 AcknowledgeEvents(Binding &binding, const std::string &consumer, int64 position) {
    Params who;
    who.Text(consumer);
    const Rows cursor = binding.Plan(PlanId::kFindConsumer, BuildFindConsumer).Run(who);
    if (cursor.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "consumer \"" + consumer + "\" has not fetched anything");
    }
    if (position > std::max(cursor.Int8(0, 0), cursor.Int8(0, 1))) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "position " + std::to_string(position) + " has not been given out",
                           "A fetch counts when its transaction has committed.");
    }
    Params params;
    params.Text(consumer).Int8(position);
    const Rows rows = binding.Plan(PlanId::kAcknowledgeEvents, BuildAcknowledge).Run(params);
    return rows.empty() ? cursor.Int8(0, 0) : rows.Int8(0, 0);
}

}  // namespace inventory_lock::commerce
