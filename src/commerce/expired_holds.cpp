// Holds whose time is over: FreeExpiredHolds() and FindExpired() of reservations.hpp.
//
// Runs in: backends. Nobody sweeps: whoever finds stock short, under its locks, ends what has
// expired on the levels that he has locked, and tries again.

#include "commerce/outbox.hpp"
#include "commerce/reservations.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/acl.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

// The first parameter: variants. `more`: what else their holds must be, and how they are locked.
std::unique_ptr<Statement> FindExpiredStatement(const Binding &binding, const std::string &more,
                                                std::initializer_list<Oid> more_types) {
    const Oid type = binding.column(TableId::kReservation, "variant_id").type;
    std::vector<Oid> types = {pg::Call([type] { return get_array_type(type); })};
    types.insert(types.end(), more_types);
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{reservation.reservation_id})::pg_catalog.text,"
                    " (s.{reservation.variant_id})::pg_catalog.text,"
                    " {s:reservation.location_id|'main'}::pg_catalog.text,"
                    " (s.{reservation.quantity})::pg_catalog.int8,"
                    " (s.{reservation.line_no})::pg_catalog.int8"
                    " FROM {reservation} s WHERE (s.{reservation.state})::pg_catalog.text{=}'held'"
                    " AND s.{reservation.expires_at}{<=}pg_catalog.clock_timestamp()"
                    " AND s.{reservation.variant_id}{=}ANY ($1)" +
                    more),
        types);
}

std::unique_ptr<Statement> BuildFindExpired(const Binding &binding) {
    return FindExpiredStatement(binding, "", {});
}

// A level in one text. No id has a line feed in it.
std::string LevelText(const std::string &variant, const std::string &location) {
    return variant + "\n" + location;
}

// Those on these levels ($2, LevelText of each), but for the caller's own ($3). Only rows that the
// caller may change, by policies too, and that nobody else is changing; locked as the UPDATE behind
// it locks them. IS TRUE keeps the planner from a join, which may compare each with each.
std::unique_ptr<Statement> BuildLockExpired(const Binding &binding) {
    return FindExpiredStatement(binding,
                                " AND (((s.{reservation.variant_id})::pg_catalog.text{||}E'\\n'"
                                "{||}{s:reservation.location_id|'main'}::pg_catalog.text)"
                                "{=}ANY (SELECT pg_catalog.unnest($2))) IS TRUE"
                                " AND (s.{reservation.reservation_id})::pg_catalog.text{<>}$3"
                                " FOR NO KEY UPDATE OF s SKIP LOCKED",
                                {TEXTARRAYOID, TEXTOID});
}

Params ExpiredParams(Binding &binding, const std::vector<StockNeed> &needs) {
    const Column &column = binding.column(TableId::kReservation, "variant_id");
    std::vector<std::optional<Datum>> variants;
    for (const StockNeed &need : needs) {
        variants.emplace_back(ParseId(column, need.variant.text, "variant_id").value);
    }
    Params params;
    params.Array(variants, column.type);
    return params;
}

bool MayUseReservations(const Binding &binding, AclMode rights) {
    if (!binding.has(TableId::kReservation)) {
        return false;
    }
    const Oid relation = binding.table(TableId::kReservation).oid;
    return pg::Call(
        [=] { return pg_class_aclmask(relation, GetUserId(), rights, ACLMASK_ALL) == rights; });
}

}  // namespace

bool FreeExpiredHolds(Binding &binding, StockLocks &locks, const std::vector<StockNeed> &needs,
                      const std::vector<std::vector<Level>> &levels,
                      const std::optional<Hold> &own_hold) {
    bool any_held = false;
    std::map<std::pair<std::string, std::string>, StockChange> changes;
    for (size_t i = 0; i < needs.size(); i++) {
        for (const Level &level : levels[i]) {
            any_held = any_held || level.held > 0;
            StockChange &change = changes[{needs[i].variant.text, level.location}];
            change.variant = needs[i].variant;
            change.level = level;
        }
    }
    if (!any_held || !MayUseReservations(binding, ACL_SELECT | ACL_UPDATE)) {
        return false;
    }
    // One hold may reach to levels that are not locked here: only the lines on ours end.
    std::vector<std::string> ours;
    for (const auto &[level, change] : changes) {
        ours.push_back(LevelText(level.first, level.second));
    }
    Params find = ExpiredParams(binding, needs);
    find.TextArray(ours).Text(own_hold ? own_hold->id.text : std::string());
    const Rows rows = binding.Plan(PlanId::kLockExpired, BuildLockExpired).Run(find);
    std::map<std::string, std::vector<int64>> lines_of;
    for (size_t i = 0; i < rows.size(); i++) {
        changes.at({rows.Text(i, 1), rows.Text(i, 2)}).held_delta -= rows.Int8(i, 3);
        lines_of[rows.Text(i, 0)].push_back(rows.Int8(i, 4));
    }
    std::vector<StockChange> freed;
    for (auto &entry : changes) {
        if (entry.second.held_delta != 0) {
            entry.second.grant = locks.FenceFor(entry.first.first, entry.second.level);
            freed.push_back(entry.second);
        }
    }
    const Column &id_column = binding.column(TableId::kReservation, "reservation_id");
    bool first = true;
    for (const auto &[reservation_id, line_numbers] : lines_of) {
        Occasion occasion;
        occasion.kind = "hold_release";
        occasion.reason = "expired";
        occasion.reference_type = kHoldReference;
        // The levels change with the first hold, all at once; the others only change their rows.
        const std::vector<StockChange> now = first ? freed : std::vector<StockChange>();
        first = false;
        Params params = ChangeParams(binding, now, occasion);
        params.Int8Array(HeldDeltas(now))
            .Text(reservation_id)
            .Value(ParseId(id_column, reservation_id, "reservation_id").value)
            .Int8Array(line_numbers)
            .Int8Array(std::vector<int64>(line_numbers.size(), 0))
            .Text("expired")
            .Null();
        RunHoldEnd(binding, params, now, reservation_id, line_numbers.size());
    }
    WriteEvents(binding, freed);
    return !freed.empty();
}

OwnHolds FindExpired(Binding &binding, const std::vector<StockNeed> &needs) {
    OwnHolds expired;
    if (!MayUseReservations(binding, ACL_SELECT)) {
        return expired;
    }
    const Rows rows =
        binding.Plan(PlanId::kFindExpired, BuildFindExpired).Run(ExpiredParams(binding, needs));
    for (size_t i = 0; i < rows.size(); i++) {
        expired[{rows.Text(i, 1), rows.Text(i, 2)}] += rows.Int8(i, 3);
    }
    return expired;
}

}  // namespace inventory_lock::commerce
