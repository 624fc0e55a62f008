// Reserves stock: see reservations.hpp.

#include "commerce/reservations.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/outbox.hpp"
#include "pg/injection.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

Oid TypeOf(const Binding &binding, const char *role) {
    const Column *const column = binding.find(TableId::kReservation, role);
    return column != nullptr ? column->type : TEXTOID;
}

Oid ArrayOf(Oid type) {
    return pg::Call([type] { return get_array_type(type); });
}

std::string SelectHold(const Binding &binding, const char *locking_clause) {
    return binding.Sql(
               "SELECT (s.{reservation.line_no})::pg_catalog.int8,"
               " (s.{reservation.variant_id})::pg_catalog.text,"
               " {s:reservation.location_id|'main'}::pg_catalog.text,"
               " (s.{reservation.quantity})::pg_catalog.int8,"
               " (s.{reservation.confirmed})::pg_catalog.int8,"
               " (s.{reservation.state})::pg_catalog.text,"
               " s.{reservation.expires_at}{<=}pg_catalog.clock_timestamp(),"
               " (s.{reservation.holder})::pg_catalog.text,"
               " s.{reservation.expires_at}::pg_catalog.timestamptz"
               " FROM {reservation} s WHERE s.{reservation.reservation_id}{=}$1"
               " ORDER BY s.{reservation.line_no}") +
           locking_clause;
}

std::unique_ptr<Statement> BuildRead(const Binding &binding) {
    return std::make_unique<Statement>(SelectHold(binding, ""),
                                       std::vector<Oid>{TypeOf(binding, "reservation_id")});
}

std::unique_ptr<Statement> BuildLock(const Binding &binding) {
    return std::make_unique<Statement>(SelectHold(binding, " FOR UPDATE"),
                                       std::vector<Oid>{TypeOf(binding, "reservation_id")});
}

std::unique_ptr<Statement> BuildWriteReservation(const Binding &binding) {
    const std::string line = InsertSelect(
        binding, TableId::kReservation,
        {{"reservation_id", "i.id::pg_catalog.text::{type:reservation.reservation_id}"},
         {"line_no", "u.n"},
         {"holder", "$12"},
         {"variant_id", "u.variant_id"},
         {"location_id", "u.location_id"},
         {"quantity", "u.quantity"},
         {"state", "'held'"},
         {"expires_at", "i.expires_at"}});
    ChangeTexts texts;
    texts.reference_id = "i.id::pg_catalog.text";
    texts.held = "$11";
    texts.from = " CROSS JOIN i";
    const std::string sql =
        binding.Sql(
            "WITH i AS MATERIALIZED (SELECT pg_catalog.gen_random_uuid() AS id,"
            " pg_catalog.clock_timestamp(){+}$13 AS expires_at), ") +
        ChangeCtes(binding, texts) + ", line AS (" + line +
        " FROM i CROSS JOIN ROWS FROM (pg_catalog.unnest($14), pg_catalog.unnest($15),"
        " pg_catalog.unnest($16)) WITH ORDINALITY AS u (variant_id, location_id, quantity, n))"
        " SELECT i.id::pg_catalog.text, (SELECT pg_catalog.count(*) FROM level) FROM i";
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> own = {INT8ARRAYOID,
                                  TEXTOID,
                                  INTERVALOID,
                                  ArrayOf(TypeOf(binding, "variant_id")),
                                  ArrayOf(TypeOf(binding, "location_id")),
                                  INT8ARRAYOID};
    types.insert(types.end(), own.begin(), own.end());
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildWriteEnd(const Binding &binding) {
    const bool ordered = binding.find(TableId::kReservation, "order_id") != nullptr;
    ChangeTexts texts;
    texts.kind = "CASE WHEN l.delta{=}0 THEN 'hold_release' ELSE $6 END";
    texts.reference_id = "$12";
    texts.held = "$11";
    const std::string sql =
        "WITH " + ChangeCtes(binding, texts) +
        binding.Sql(
            ", line AS (UPDATE {reservation} s SET {reservation.state} = $16,"
            " {reservation.confirmed} = u.given" +
            std::string(ordered ? ", {reservation.order_id} = $17::{type:reservation.order_id}"
                                : "")) +
        OfLines(binding, TableId::kReservation, "reservation_id", 13) +
        " RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM level),"
        " (SELECT pg_catalog.count(*) FROM line)";
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> own = {INT8ARRAYOID, TEXTOID,      TypeOf(binding, "reservation_id"),
                                  INT8ARRAYOID, INT8ARRAYOID, TEXTOID,
                                  TEXTOID};
    types.insert(types.end(), own.begin(), own.end());
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildExtend(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("UPDATE {reservation} s SET {reservation.expires_at} ="
                    " pg_catalog.clock_timestamp(){+}$2"
                    " WHERE s.{reservation.reservation_id}{=}$1"),
        std::vector<Oid>{TypeOf(binding, "reservation_id"), INTERVALOID});
}

Hold ReadRows(const Id &id, const Rows &rows) {
    Hold hold;
    hold.id = id;
    for (size_t i = 0; i < rows.size(); i++) {
        HoldLine line;
        line.line_no = rows.Int8(i, 0);
        line.variant_id = rows.Text(i, 1);
        line.location_id = rows.Text(i, 2);
        line.quantity = rows.Int8(i, 3);
        line.confirmed = rows.Int8(i, 4);
        line.state = rows.Text(i, 5);
        line.expired = rows.Bool(i, 6);
        hold.holder = rows.Text(i, 7);
        bool is_null;
        hold.expires_at = rows.Value(i, 8, &is_null);
        hold.lines.push_back(line);
    }
    return hold;
}

// Only a hold that stands can be changed; each other state has its own SQLSTATE.
void CheckStands(const Hold &hold) {
    const std::string what = "reservation \"" + hold.id.text + "\"";
    if (hold.lines.empty()) {
        throw pg::SqlError(pg::kReservationNotFound, what + " does not exist");
    }
    const HoldLine &line = hold.lines.front();
    if (line.state == "confirmed") {
        throw pg::SqlError(pg::kReservationAlreadyConfirmed, what + " has been confirmed already");
    }
    if (line.state == "released") {
        throw pg::SqlError(pg::kReservationAlreadyReleased, what + " has been released already");
    }
    if (line.state == "expired" || line.expired) {
        throw pg::SqlError(pg::kReservationExpired, what + " has expired");
    }
}

// How much of each line is sold; the rest of the hold is given up.
void ChooseConfirmed(const std::vector<LineSelector> &selectors, Hold *hold) {
    for (const LineSelector &selector : selectors) {
        int64 left = 0;
        bool matched = false;
        const auto matches = [&selector](const HoldLine &line) {
            return (!selector.line_no || *selector.line_no == line.line_no) &&
                   (!selector.variant_id || *selector.variant_id == line.variant_id) &&
                   (!selector.location_id || *selector.location_id == line.location_id);
        };
        for (const HoldLine &line : hold->lines) {
            if (matches(line)) {
                matched = true;
                left += line.quantity - line.confirmed;
            }
        }
        if (!matched) {
            throw pg::SqlError(
                ERRCODE_INVALID_PARAMETER_VALUE,
                selector.path + " is not a line of reservation \"" + hold->id.text + "\"");
        }
        int64 wanted = selector.quantity.value_or(left);
        if (wanted > left) {
            throw pg::SqlError(
                pg::kCancelQuantityExceedsRemaining,
                selector.quantity_path + " is more than is held",
                "Asked for " + std::to_string(wanted) + ", held are " + std::to_string(left) + ".");
        }
        for (HoldLine &line : hold->lines) {
            if (matches(line)) {
                const int64 part = std::min(wanted, line.quantity - line.confirmed);
                line.confirmed += part;
                wanted -= part;
            }
        }
    }
}

struct LockedHold {
    Hold hold;
    StockLocks locks;
    std::vector<StockNeed> needs;
    std::vector<std::vector<Level>> levels;
};

LockedHold LockForEnd(Binding &binding, const std::string &reservation_id,
                      locking::WaitBudget &budget) {
    const Hold seen = ReadHold(binding, reservation_id);
    CheckStands(seen);
    LockedHold locked;
    locked.needs = NeedsOf(binding, seen);
    locked.locks = StockLocks::Acquire(binding, locked.needs, budget);
    locked.hold = LockHold(binding, seen, budget);
    locked.levels = LockLevels(binding, locked.needs, budget);
    return locked;
}

// Ends a hold: `confirmed` of each line is sold, all of it is no longer held.
ReservationAnswer End(Binding &binding, LockedHold *locked, const char *state,
                      const std::optional<std::string> &order_id) {
    ReservationAnswer answer;
    answer.hold = locked->hold;
    answer.state = state;
    std::vector<StockChange> changes;
    for (size_t i = 0; i < locked->needs.size(); i++) {
        if (locked->levels[i].empty()) {
            throw StockItemNotFound(locked->needs[i]);
        }
        StockChange change;
        change.variant = locked->needs[i].variant;
        change.level = locked->levels[i][0];
        for (const HoldLine &line : locked->hold.lines) {
            if (line.variant_id == change.variant.text &&
                line.location_id == change.level.location) {
                change.delta -= line.confirmed;
                change.held_delta -= line.quantity;
            }
        }
        AddToStock(binding, change.level, change.delta);
        change.grant = locked->locks.FenceFor(change.variant.text, change.level);
        answer.redis = answer.redis && change.grant.redis;
        changes.push_back(change);
    }
    RequireOnHand(changes);  // a count may have found less than is held
    std::vector<int64> line_numbers;
    std::vector<int64> confirmed;
    for (HoldLine &line : answer.hold.lines) {
        line_numbers.push_back(line.line_no);
        confirmed.push_back(line.confirmed);
        line.state = state;
    }
    Occasion occasion;
    occasion.kind = "sale";
    occasion.reason = state;
    occasion.reference_type = order_id ? "order" : kHoldReference;
    Params params = ChangeParams(binding, changes, occasion);
    params.Int8Array(HeldDeltas(changes))
        .Text(order_id ? *order_id : locked->hold.id.text)
        .Value(locked->hold.id.value)
        .Int8Array(line_numbers)
        .Int8Array(confirmed)
        .Text(state)
        .Text(order_id);
    RunHoldEnd(binding, params, changes, locked->hold.id.text, line_numbers.size());
    IL_INJECT("reservation-ended");
    WriteEvents(binding, changes);
    return answer;
}

}  // namespace

void RunHoldEnd(Binding &binding, const Params &params, const std::vector<StockChange> &changes,
                const std::string &reservation_id, size_t lines) {
    const Rows rows = binding.Plan(PlanId::kWriteReservationEnd, BuildWriteEnd).Run(params);
    if (rows.Int8(0, 0) != static_cast<int64>(changes.size())) {
        throw NotWritten(changes.front().variant.text);
    }
    if (rows.Int8(0, 1) != static_cast<int64>(lines)) {
        throw pg::SqlError(
            pg::kBindingInvalid,
            "the lines of reservation \"" + reservation_id + "\" could not be updated",
            "A trigger or a row security policy of the table prevented it.");
    }
}

std::shared_ptr<Binding> OpenForReservations(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                 kEventAccess,
                                 {TableId::kReservation, ACL_SELECT | ACL_INSERT | ACL_UPDATE}});
}

ReservationAnswer Reserve(Binding &binding, const ReservationRequest &request,
                          locking::WaitBudget &budget) {
    const std::vector<Demand> demands = SumDemands(request.lines);
    const std::vector<StockNeed> needs = NeedsOf(demands);
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    std::vector<std::vector<Level>> levels = LockLevels(binding, needs, budget);
    Allocation allocation = Allocate(demands, levels, {}, AllocationRules());
    if (!allocation.shortages.empty() && FreeExpiredHolds(binding, locks, needs, levels)) {
        levels = LockLevels(binding, needs, budget);
        allocation = Allocate(demands, levels, {}, AllocationRules());
    }
    if (const auto failure = FailureOf(allocation)) {
        throw *failure;
    }
    ReservationAnswer answer;
    answer.state = "held";
    for (StockChange &change : allocation.changes) {
        change.held_delta = -change.delta;
        change.delta = 0;
        change.grant = locks.FenceFor(change.variant.text, change.level);
        answer.redis = answer.redis && change.grant.redis;
    }
    const Column &variant_column = binding.column(TableId::kReservation, "variant_id");
    const Column *const location_column = binding.find(TableId::kReservation, "location_id");
    std::vector<std::optional<Datum>> variants;
    std::vector<std::optional<Datum>> locations;
    std::vector<int64> quantities;
    for (size_t i = 0; i < demands.size(); i++) {
        const std::string &location = allocation.parts[i][0].location;
        variants.emplace_back(
            ParseId(variant_column, demands[i].need.variant.text, "variant_id").value);
        locations.emplace_back(location_column != nullptr
                                   ? ParseId(*location_column, location, "location_id").value
                                   : TextDatum(location));
        quantities.push_back(demands[i].quantity);
    }
    Occasion occasion;
    occasion.kind = "hold";
    occasion.reason = "hold";
    occasion.reference_type = kHoldReference;
    occasion.actor = request.holder;
    Params params = ChangeParams(binding, allocation.changes, occasion);
    params.Int8Array(HeldDeltas(allocation.changes))
        .Text(request.holder)
        .Value(PointerGetDatum(request.ttl))
        .Array(variants, variant_column.type)
        .Array(locations, location_column != nullptr ? location_column->type : TEXTOID)
        .Int8Array(quantities);
    const Rows rows = binding.Plan(PlanId::kWriteReservation, BuildWriteReservation).Run(params);
    IL_INJECT("reservation-written");
    if (rows.Int8(0, 1) != static_cast<int64>(allocation.changes.size())) {
        throw NotWritten(allocation.changes.front().variant.text);
    }
    WriteEvents(binding, allocation.changes);
    answer.hold = ReadHold(binding, rows.Text(0, 0));
    return answer;
}

ReservationAnswer Confirm(Binding &binding, const std::string &reservation_id,
                          const std::optional<std::vector<LineSelector>> &selectors,
                          const std::optional<std::string> &order_id, locking::WaitBudget &budget) {
    LockedHold locked = LockForEnd(binding, reservation_id, budget);
    if (selectors) {
        ChooseConfirmed(*selectors, &locked.hold);
    } else {
        for (HoldLine &line : locked.hold.lines) {
            line.confirmed = line.quantity;
        }
    }
    return End(binding, &locked, "confirmed", order_id);
}

ReservationAnswer Release(Binding &binding, const std::string &reservation_id,
                          locking::WaitBudget &budget) {
    LockedHold locked = LockForEnd(binding, reservation_id, budget);
    return End(binding, &locked, "released", std::nullopt);
}

ReservationAnswer Extend(Binding &binding, const std::string &reservation_id, const Interval *ttl,
                         locking::WaitBudget &budget) {
    LockedHold locked = LockForEnd(binding, reservation_id, budget);
    Params params;
    params.Value(locked.hold.id.value).Value(PointerGetDatum(ttl));
    binding.Plan(PlanId::kExtendReservation, BuildExtend).Run(params);
    ReservationAnswer answer;
    answer.hold = ReadHold(binding, reservation_id);
    answer.state = "held";
    for (size_t i = 0; i < locked.needs.size(); i++) {
        for (const Level &level : locked.levels[i]) {
            answer.redis =
                answer.redis && locked.locks.FenceFor(locked.needs[i].variant.text, level).redis;
        }
    }
    return answer;
}

Hold ReadHold(Binding &binding, const std::string &reservation_id) {
    const Column &column = binding.column(TableId::kReservation, "reservation_id");
    Params params;
    const Id id = ParseId(column, reservation_id, "reservation_id");
    params.Value(id.value);
    return ReadRows(id, binding.Plan(PlanId::kReadReservation, BuildRead).Run(params));
}

std::vector<StockNeed> NeedsOf(const Binding &binding, const Hold &hold) {
    std::vector<StockNeed> needs;
    for (const HoldLine &line : hold.lines) {
        needs.push_back(MakeNeed(binding, line.variant_id, line.location_id));
    }
    std::sort(needs.begin(), needs.end());
    needs.erase(
        std::unique(needs.begin(), needs.end(),
                    [](const StockNeed &a, const StockNeed &b) { return !(a < b) && !(b < a); }),
        needs.end());
    return needs;
}

Hold LockHold(Binding &binding, const Hold &hold, locking::WaitBudget &budget) {
    Params params;
    params.Value(hold.id.value);
    Hold locked = ReadRows(
        hold.id, LockRows(locking::LockKind::kInventory,
                          binding.Plan(PlanId::kLockReservation, BuildLock), params, budget));
    CheckStands(locked);
    return locked;
}

OwnHolds UnitsOf(const Hold &hold) {
    OwnHolds units;
    for (const HoldLine &line : hold.lines) {
        units[{line.variant_id, line.location_id}] += line.quantity;
    }
    return units;
}

}  // namespace inventory_lock::commerce
