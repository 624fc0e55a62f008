// Writes levels and movements: see movement.hpp.
//
// A level changes by addition in the statement itself, although the row is locked and its value
// known: a trigger of the user's that changed the row meanwhile is then added to, not undone.

#include "commerce/movement.hpp"

#include <unordered_map>

#include "commerce/direct_write.hpp"
#include "commerce/outbox.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

const Column *LocationColumn(const Binding &binding) {
    return binding.find(TableId::kStockLevel, "location_id");
}

std::string SetLevel(const Binding &binding, const char *delta, const char *fence) {
    const std::string on_hand = std::string("s.{stock_level.on_hand}{+}") + delta;
    return SetList(binding, TableId::kStockLevel,
                   {{"on_hand", on_hand},
                    {"version", "{s:stock_level.version|0}{+}1"},
                    {"fence", fence},
                    {"updated_at", "pg_catalog.clock_timestamp()"}});
}

// Where the table has no column for them, the reservations themselves are what is held.
std::string SetHeld(const Binding &binding, const char *delta) {
    if (binding.counts_holds()) {
        return {};
    }
    return ", " + binding.Sql("{stock_level.held} = COALESCE(s.{stock_level.held}, 0){+}") + delta;
}

// A change of this kind is one of two movements, by its sign.
constexpr std::string_view kTransfer = "transfer";

constexpr const char *kReturnedLevel =
    "(s.{stock_level.on_hand})::pg_catalog.int8 AS on_hand,"
    " {s:stock_level.version|NULL}::pg_catalog.int8 AS version";

// The movement's own id when its table has one.
std::string ReturnMovementId(const Binding &binding) {
    const Column *const column = binding.find(TableId::kMovement, "movement_id");
    return " RETURNING " + (column != nullptr ? QuoteName(column->name) : std::string("NULL")) +
           "::pg_catalog.text AS movement_id";
}

bool HasLocation(const Binding &binding) {
    return binding.find(TableId::kMovement, "location_id") != nullptr;
}

// A text value as the movement's column has it.
std::string AsColumn(const Binding &binding, const char *role, const std::string &expression) {
    const Column *const column = binding.find(TableId::kMovement, role);
    return column == nullptr || column->type == TEXTOID ? expression
                                                        : expression + "::" + column->type_name;
}

// The level and its movement are written one after the other: joined in one statement they cost a
// tenth of the call more.
std::unique_ptr<Statement> WriteLevelStatement(const Binding &binding, const std::string &held) {
    const Column *const location = LocationColumn(binding);
    std::vector<Oid> types = {binding.column(TableId::kStockLevel, "variant_id").type,
                              location != nullptr ? location->type : TEXTOID, INT8OID, INT8OID};
    if (!held.empty()) {
        types.push_back(INT8OID);
    }
    return std::make_unique<Statement>(
        binding.Sql("UPDATE {stock_level} s SET " + SetLevel(binding, "$3", "$4") + held +
                    " WHERE s.{stock_level.variant_id}{=}$1{live} AND " +
                    (location != nullptr ? "s.{stock_level.location_id}{=}$2"
                                         : "$2{=}'main'::pg_catalog.text") +
                    " RETURNING " + kReturnedLevel),
        types);
}

std::unique_ptr<Statement> BuildWriteLevel(const Binding &binding) {
    return WriteLevelStatement(binding, {});
}

std::unique_ptr<Statement> BuildWriteLevelAndHeld(const Binding &binding) {
    return WriteLevelStatement(binding, SetHeld(binding, "$5"));
}

std::unique_ptr<Statement> BuildWriteMovement(const Binding &binding) {
    const Column *const location = LocationColumn(binding);
    const std::string insert =
        InsertSelect(binding, TableId::kMovement,
                     {{"occurred_at", "pg_catalog.clock_timestamp()"},
                      {"variant_id", AsColumn(binding, "variant_id", "$1")},
                      {"location_id", AsColumn(binding, "location_id", "$2")},
                      {"kind", "$6"},
                      {"delta", "$3"},
                      {"on_hand_after", "$13"},
                      {"reason", "$7"},
                      {"reference_type", "$8"},
                      {"reference_id", AsColumn(binding, "reference_id", "$9")},
                      {"actor", AsColumn(binding, "actor", "$10")},
                      {"note", "$11"},
                      {"request_key", "$12"},
                      {"fence", "$4"},
                      {"protection", "$5"}});
    return std::make_unique<Statement>(
        binding.Sql(insert + ReturnMovementId(binding)),
        std::vector<Oid>{binding.column(TableId::kStockLevel, "variant_id").type,
                         location != nullptr ? location->type : TEXTOID, INT8OID, INT8OID, TEXTOID,
                         TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID});
}

// Writes a movement that may carry a request_key which somebody else has just used.
template <typename Write>
auto WithRequestKey(const Occasion &occasion, Write write) {
    try {
        return write();
    } catch (const pg::PgError &error) {
        if (!occasion.request_key || error.edata == nullptr ||
            error.edata->sqlerrcode != ERRCODE_UNIQUE_VIOLATION) {
            throw;
        }
    }
    throw pg::SqlError(
        pg::kIdempotencyKeyReused,
        "request_key \"" + *occasion.request_key + "\" has been used by another request",
        "It was used for another variant.");
}

Rows RunWrite(Statement &statement, const Params &params, const Occasion &occasion) {
    return WithRequestKey(occasion, [&] { return statement.Run(params); });
}

std::unique_ptr<Statement> BuildWriteManyAnd(const Binding &binding, const std::string &select) {
    ChangeTexts texts;
    texts.kind =
        "CASE WHEN $6{=}'transfer' THEN CASE WHEN l.delta{<}0 THEN 'transfer_out'"
        " ELSE 'transfer_in' END ELSE $6 END";
    texts.reference_id = "$11";
    texts.request_key = "$12{||}l.n::pg_catalog.text";
    std::vector<Oid> types = ChangeTypes(binding);
    types.insert(types.end(), {TEXTOID, TEXTOID});
    return std::make_unique<Statement>("WITH " + ChangeCtes(binding, texts) + select, types);
}

std::unique_ptr<Statement> BuildWriteMany(const Binding &binding) {
    return BuildWriteManyAnd(binding, SelectWritten(binding));
}

std::unique_ptr<Statement> BuildWriteManyOnly(const Binding &binding) {
    return BuildWriteManyAnd(binding, " SELECT pg_catalog.count(*) FROM level l");
}

Datum LocationValue(const Binding &binding, const Level &level) {
    const Column *const column = LocationColumn(binding);
    return column != nullptr ? ParseId(*column, level.location, "location_id").value
                             : TextDatum(level.location);
}

}  // namespace

const char *ProtectionName(const locking::Grant &grant) {
    return grant.redis ? "redis" : "database";
}

pg::SqlError NotWritten(const std::string &variant_id) {
    return pg::SqlError(
        pg::kBindingInvalid,
        "the stock level of variant \"" + variant_id + "\" was locked but could not be updated",
        "A trigger or a row security policy of the table prevented it.");
}

namespace {

WrittenChange WriteByStatements(Binding &binding, const StockChange &change,
                                const Occasion &occasion) {
    Params params;
    params.Value(change.variant.value)
        .Value(LocationValue(binding, change.level))
        .Int8(change.delta)
        .Int8(static_cast<int64>(change.grant.fence));
    Params with_held = params;
    const bool held = change.held_delta != 0 && !binding.counts_holds();
    const Rows level = held ? binding.Plan(PlanId::kWriteLevelAndHeld, BuildWriteLevelAndHeld)
                                  .Run(with_held.Int8(change.held_delta))
                            : binding.Plan(PlanId::kWriteLevel, BuildWriteLevel).Run(params);
    if (level.size() != 1) {
        throw NotWritten(change.variant.text);
    }
    WrittenChange written;
    written.on_hand = level.Int8(0, 0);
    written.version = level.OptionalInt8(0, 1);
    params.Text(ProtectionName(change.grant))
        .Text(occasion.kind)
        .Text(occasion.reason)
        .Text(occasion.reference_type)
        .Text(occasion.reference_id)
        .Text(occasion.actor)
        .Text(occasion.note)
        .Text(occasion.request_key)
        .Int8(written.on_hand);
    const Rows movement =
        RunWrite(binding.Plan(PlanId::kWriteMovement, BuildWriteMovement), params, occasion);
    written.movement_id = movement.empty() ? std::string() : movement.Text(0, 0);
    return written;
}

const char *KindOf(const StockChange &change, const Occasion &occasion) {
    if (std::string_view(occasion.kind) == kTransfer) {
        return change.delta < 0 ? "transfer_out" : "transfer_in";
    }
    return change.delta == 0 && change.held_delta != 0 ? "hold_release" : occasion.kind;
}

}  // namespace

WrittenChange WriteChange(Binding &binding, const StockChange &change, const Occasion &occasion) {
    std::optional<WrittenChange> written;
    if (change.level.row && CanWriteDirectly(binding)) {
        written =
            WithRequestKey(occasion, [&] { return WriteDirectly(binding, change, occasion); });
    }
    if (!written) {
        written = WriteByStatements(binding, change, occasion);
    }
    WriteEvent(binding, change);
    return *written;
}

std::optional<WrittenChange> WriteIfUnchanged(Binding &binding, const StockChange &change,
                                              const Occasion &occasion) {
    if (!CanWriteDirectly(binding)) {
        return std::nullopt;
    }
    return WithRequestKey(occasion, [&] { return WriteDirectly(binding, change, occasion); });
}

bool CanWriteEachDirectly(Binding &binding, const std::vector<StockChange> &changes) {
    const auto found = [](const StockChange &change) { return change.level.row.has_value(); };
    return std::all_of(changes.begin(), changes.end(), found) && CanWriteDirectly(binding);
}

std::vector<WrittenChange> WriteEachDirectly(Binding &binding,
                                             const std::vector<StockChange> &changes,
                                             const Occasion &occasion) {
    std::vector<WrittenChange> result;
    result.reserve(changes.size());
    Occasion one = occasion;
    const bool direct = CanWriteDirectly(binding);  // still: a trigger may have run
    bool open = direct && changes.size() > 1;
    if (open) {
        KeepTablesOpen(binding);
    }
    for (const StockChange &change : changes) {
        one.kind = KindOf(change, occasion);
        if (occasion.request_key) {
            one.request_key = *occasion.request_key + std::to_string(result.size() + 1);
        }
        std::optional<WrittenChange> written;
        if (direct) {
            written = WithRequestKey(one, [&] { return WriteDirectly(binding, change, one); });
        }
        if (!written && open) {
            LetTablesGo(binding);
            open = false;
        }
        result.push_back(written ? *written : WriteByStatements(binding, change, one));
    }
    if (open) {
        LetTablesGo(binding);
    }
    return result;
}

std::string ChangeCtes(const Binding &binding, const ChangeTexts &texts) {
    const bool located = LocationColumn(binding) != nullptr;
    const std::string insert =
        InsertSelect(binding, TableId::kMovement,
                     {{"occurred_at", "pg_catalog.clock_timestamp()"},
                      {"variant_id", AsColumn(binding, "variant_id", "l.variant_id")},
                      {"location_id", AsColumn(binding, "location_id", "l.location_id")},
                      {"kind", texts.kind},
                      {"delta", "l.delta"},
                      {"on_hand_after", "l.on_hand"},
                      {"reason", "$7"},
                      {"reference_type", "$8"},
                      {"reference_id", AsColumn(binding, "reference_id", texts.reference_id)},
                      {"actor", AsColumn(binding, "actor", "$9")},
                      {"note", "$10"},
                      {"request_key", texts.request_key},
                      {"fence", "l.fence"},
                      {"protection", "l.protection"}});
    return binding.Sql(
        "change AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
        " pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)" +
        (texts.held.empty() ? std::string() : ", pg_catalog.unnest(" + texts.held + ")") +
        ") WITH ORDINALITY AS c (variant_id, location_id, delta, fence, protection" +
        (texts.held.empty() ? "" : ", held") + ", n)), level AS (UPDATE {stock_level} s SET " +
        SetLevel(binding, "c.delta", "c.fence") +
        (texts.held.empty() ? std::string() : SetHeld(binding, "c.held")) +
        " FROM change c WHERE s.{stock_level.variant_id}{=}c.variant_id{live}" +
        (located ? " AND s.{stock_level.location_id}{=}c.location_id" : "") +
        " RETURNING c.n, c.variant_id, c.location_id, c.delta, c.fence, c.protection, " +
        kReturnedLevel + "), movement AS (" + insert + " FROM level l" + texts.from +
        ReturnMovementId(binding) + ", {movement.variant_id}::pg_catalog.text AS variant_id, " +
        (HasLocation(binding) ? "{movement.location_id}" : "'main'") +
        "::pg_catalog.text AS location_id)");
}

// The levels in their order, and behind them the movements. They are matched by ReadWritten: the
// planner, which takes both for single rows, would compare each with each.
std::string SelectWritten(const Binding &binding) {
    // Without a location in either table, the variant alone tells which movement is meant.
    const bool by_location = HasLocation(binding) == (LocationColumn(binding) != nullptr);
    return std::string(
               " SELECT l.n, l.on_hand, l.version, l.variant_id::pg_catalog.text AS variant_id,"
               " l.location_id::pg_catalog.text AS location_id,"
               " NULL::pg_catalog.text AS movement_id FROM level l") +
           (by_location ? " UNION ALL SELECT NULL, NULL, NULL, m.variant_id, m.location_id,"
                          " m.movement_id FROM movement m"
                        : "") +
           " ORDER BY 1 NULLS LAST";
}

std::vector<WrittenChange> ReadWritten(const Rows &rows, const std::vector<StockChange> &changes) {
    const size_t count = changes.size();
    if (rows.size() < count || rows.IsNull(count - 1, 0) ||
        (rows.size() > count && !rows.IsNull(count, 0))) {
        throw NotWritten(changes.front().variant.text);
    }
    const auto level_of = [&rows](size_t row) {
        return rows.Text(row, 3) + '\0' + rows.Text(row, 4);
    };
    std::unordered_map<std::string, std::string> movements;
    for (size_t i = count; i < rows.size(); i++) {
        movements.emplace(level_of(i), rows.Text(i, 5));
    }
    std::vector<WrittenChange> written;
    written.reserve(count);
    for (size_t i = 0; i < count; i++) {
        const auto movement = movements.find(level_of(i));
        written.push_back({movement != movements.end() ? movement->second : std::string(),
                           rows.Int8(i, 1), rows.OptionalInt8(i, 2)});
    }
    return written;
}

std::vector<WrittenChange> WriteChanges(Binding &binding, const std::vector<StockChange> &changes,
                                        const Occasion &occasion) {
    std::vector<WrittenChange> written;
    if (CanWriteEachDirectly(binding, changes)) {
        written = WriteEachDirectly(binding, changes, occasion);
    } else {
        Params params = ChangeParams(binding, changes, occasion);
        params.Text(occasion.reference_id).Text(occasion.request_key);
        written = ReadWritten(
            RunWrite(binding.Plan(PlanId::kWriteLevels, BuildWriteMany), params, occasion),
            changes);
    }
    WriteEvents(binding, changes);
    return written;
}

void WriteChangesOnly(Binding &binding, const std::vector<StockChange> &changes,
                      const Occasion &occasion) {
    if (CanWriteEachDirectly(binding, changes)) {
        WriteEachDirectly(binding, changes, occasion);
    } else {
        Params params = ChangeParams(binding, changes, occasion);
        params.Text(occasion.reference_id).Text(occasion.request_key);
        const Rows rows =
            RunWrite(binding.Plan(PlanId::kWriteLevelsOnly, BuildWriteManyOnly), params, occasion);
        if (rows.Int8(0, 0) != static_cast<int64>(changes.size())) {
            throw NotWritten(changes.front().variant.text);
        }
    }
    WriteEvents(binding, changes);
}

std::vector<Oid> ChangeTypes(const Binding &binding) {
    const Column *const location = LocationColumn(binding);
    const Oid variant_type = binding.column(TableId::kStockLevel, "variant_id").type;
    const Oid location_type = location != nullptr ? location->type : TEXTOID;
    const auto array_of = [](Oid type) {
        return pg::Call([type] { return get_array_type(type); });
    };
    return {array_of(variant_type),
            array_of(location_type),
            INT8ARRAYOID,
            INT8ARRAYOID,
            TEXTARRAYOID,
            TEXTOID,
            TEXTOID,
            TEXTOID,
            TEXTOID,
            TEXTOID};
}

std::vector<int64> HeldDeltas(const std::vector<StockChange> &changes) {
    std::vector<int64> deltas;
    for (const StockChange &change : changes) {
        deltas.push_back(change.held_delta);
    }
    return deltas;
}

Params ChangeParams(const Binding &binding, const std::vector<StockChange> &changes,
                    const Occasion &occasion) {
    std::vector<std::optional<Datum>> variants;
    std::vector<std::optional<Datum>> locations;
    std::vector<int64> deltas;
    std::vector<int64> fences;
    std::vector<std::optional<Datum>> protections;
    std::optional<Datum> names[2];  // of protections
    for (const StockChange &change : changes) {
        const StockChange *const before = &change == &changes.front() ? nullptr : &change - 1;
        const bool same_location =
            before != nullptr && before->level.location == change.level.location;
        variants.emplace_back(change.variant.value);
        locations.push_back(same_location ? locations.back()
                                          : LocationValue(binding, change.level));
        deltas.push_back(change.delta);
        fences.push_back(static_cast<int64>(change.grant.fence));
        std::optional<Datum> &name = names[change.grant.redis ? 1 : 0];
        if (!name) {
            name = TextDatum(ProtectionName(change.grant));
        }
        protections.push_back(name);
    }
    const Column *const location = LocationColumn(binding);
    Params params;
    params.Array(variants, binding.column(TableId::kStockLevel, "variant_id").type)
        .Array(locations, location != nullptr ? location->type : TEXTOID)
        .Int8Array(deltas)
        .Int8Array(fences)
        .Array(protections, TEXTOID)
        .Text(occasion.kind)
        .Text(occasion.reason)
        .Text(occasion.reference_type)
        .Text(occasion.actor)
        .Text(occasion.note);
    return params;
}

}  // namespace inventory_lock::commerce
