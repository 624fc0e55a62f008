// Finds, reads and locks the rows of levels: see level_rows.hpp.

#include "commerce/level_rows.hpp"

#include "commerce/derived_level.hpp"
#include "commerce/direct_level.hpp"
#include "commerce/product.hpp"
#include "locking/lock_timeout.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "shared/counters.hpp"

extern "C" {
#include <access/printtup.h>
#include <catalog/pg_type.h>
#include <storage/proc.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

// More than any column of a level can hold: what a yes to backorders stands for.
constexpr const char *kNoLimit = "4611686018427387904";

// The columns of a level, in the order ReadLevel takes them.
std::string LevelColumns(const Binding &binding) {
    const Column *const limit = binding.find(TableId::kStockLevel, "backorder_limit");
    const std::string backorder_limit =
        limit != nullptr && limit->type == BOOLOID
            ? "CASE WHEN s." + QuoteName(limit->name) + " THEN " + kNoLimit + " END"
            : "{s:stock_level.backorder_limit|0}";
    return "{s:stock_level.location_id|'main'}::pg_catalog.text AS location_id,"
           " (s.{stock_level.on_hand})::pg_catalog.int8 AS on_hand,"
           " COALESCE({s:stock_level.held|0}, 0)::pg_catalog.int8 AS held,"
           " COALESCE({s:stock_level.safety_stock|0}, 0)::pg_catalog.int8 AS safety_stock,"
           " COALESCE(" +
           backorder_limit +
           ", 0)::pg_catalog.int8 AS backorder_limit,"
           " {s:stock_level.low_stock_threshold|NULL}::pg_catalog.int8 AS low_stock_threshold,"
           " {s:stock_level.version|NULL}::pg_catalog.int8 AS version,"
           " COALESCE({s:stock_level.fence|0}, 0)::pg_catalog.int8 AS fence,"
           " {s:stock_level.product_id|NULL}::pg_catalog.text AS product_id";
}

Oid LocationType(const Binding &binding) {
    const Column *const column = binding.find(TableId::kStockLevel, "location_id");
    return column != nullptr ? column->type : TEXTOID;
}

Oid VariantType(const Binding &binding) {
    return binding.column(TableId::kStockLevel, "variant_id").type;
}

Oid ArrayType(Oid element) {
    return pg::Call([element] { return get_array_type(element); });
}

// The row of `s` that belongs to a location, when one is given.
std::string LocationCondition(const Binding &binding, const std::string &given) {
    if (binding.find(TableId::kStockLevel, "location_id") == nullptr) {
        return "(" + given + " IS NULL OR " + given + "{=}'main')";
    }
    return "(" + given + " IS NULL OR s.{stock_level.location_id}{=}" + given + ")";
}

std::string SelectLevels(const Binding &binding, const char *variant, const char *location,
                         const char *locking_clause) {
    return "SELECT " + LevelColumns(binding) +
           " FROM {stock_level} s WHERE s.{stock_level.variant_id}{=}" + variant + "{live} AND " +
           LocationCondition(binding, location) +
           " ORDER BY {s:stock_level.location_id|'main'}::pg_catalog.text COLLATE "
           "pg_catalog.\"C\"" +
           locking_clause;
}

std::unique_ptr<Statement> OneLevel(const Binding &binding, const char *locking_clause) {
    return std::make_unique<Statement>(
        binding.Sql(SelectLevels(binding, "$1", "$2", locking_clause)),
        std::vector<Oid>{VariantType(binding), LocationType(binding)});
}

// The inner query is run once per element, in the order of the arrays, so rows are locked so.
std::unique_ptr<Statement> ManyLevels(const Binding &binding, const char *locking_clause) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT l.*, u.n FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
                    " WITH ORDINALITY AS u (variant_id, location_id, n) CROSS JOIN LATERAL (" +
                    SelectLevels(binding, "u.variant_id", "u.location_id", locking_clause) +
                    ") AS l"),
        std::vector<Oid>{ArrayType(VariantType(binding)), ArrayType(LocationType(binding))});
}

std::unique_ptr<Statement> BuildPeek(const Binding &binding) {
    return ManyLevels(binding, "");
}
std::unique_ptr<Statement> BuildLockOne(const Binding &binding) {
    return OneLevel(binding, " FOR UPDATE OF s");
}
std::unique_ptr<Statement> BuildLockOneNoKey(const Binding &binding) {
    return OneLevel(binding, " FOR NO KEY UPDATE OF s");
}
std::unique_ptr<Statement> BuildLockMany(const Binding &binding) {
    return ManyLevels(binding, " FOR UPDATE OF s");
}
std::unique_ptr<Statement> BuildLockManyNoKey(const Binding &binding) {
    return ManyLevels(binding, " FOR NO KEY UPDATE OF s");
}

bool UseNoKeyUpdate(const Binding &binding) {
    switch (pg::settings::row_lock) {
        case pg::settings::kRowLockUpdate:
            return false;
        case pg::settings::kRowLockNoKeyUpdate:
            return true;
        default:
            return binding.referenced();
    }
}

Level ReadLevel(const Rows &rows, size_t row) {
    Level level;
    level.location = rows.Text(row, 0);
    level.on_hand = rows.Int8(row, 1);
    level.held = rows.Int8(row, 2);
    level.safety_stock = rows.Int8(row, 3);
    level.backorder_limit = rows.Int8(row, 4);
    level.low_stock_threshold = rows.OptionalInt8(row, 5);
    level.version = rows.OptionalInt8(row, 6);
    level.fence = static_cast<uint64>(rows.Int8(row, 7));
    level.product = rows.Text(row, 8);
    return level;
}

Params ArraysOf(const Binding &binding, const std::vector<StockNeed> &needs) {
    std::vector<std::optional<Datum>> variants;
    std::vector<std::optional<Datum>> locations;
    for (const StockNeed &need : needs) {
        variants.emplace_back(need.variant.value);
        locations.push_back(need.location ? std::optional<Datum>(need.location->value)
                                          : std::nullopt);
    }
    Params params;
    params.Array(variants, VariantType(binding)).Array(locations, LocationType(binding));
    return params;
}

std::vector<std::vector<Level>> ReadMany(const Rows &rows, size_t needs) {
    constexpr int kOrdinality = 9;
    std::vector<std::vector<Level>> levels(needs);
    for (size_t i = 0; i < rows.size(); i++) {
        levels[static_cast<size_t>(rows.Int8(i, kOrdinality) - 1)].push_back(ReadLevel(rows, i));
    }
    return levels;
}

bool IsLockTimeout(const pg::PgError &error) {
    return error.edata != nullptr && error.edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

pg::SqlError RowTimedOut() {
    return pg::SqlError(
        pg::kLockWaitTimeout, "waited too long for a row that somebody else has locked",
        "The key was free; the row is locked by a transaction that did not take it.",
        "Retry, or allow a longer wait.");
}

// Takes a statement's rows as SPI does. A row is locked when it comes, and the next one is then
// waited for only as long as is left.
struct RenewingReceiver {
    DestReceiver base;
    const locking::WaitBudget *budget;
    int callers_ms;  // lock_timeout of the caller, 0 = none

    int LimitMs() const {
        const int64 most = callers_ms > 0 ? callers_ms : std::numeric_limits<int>::max();
        return static_cast<int>(std::clamp<int64>(budget->LeftMs(), 1, most));
    }
    static bool Receive(TupleTableSlot *slot, DestReceiver *self) {
        LockTimeout = reinterpret_cast<RenewingReceiver *>(self)->LimitMs();
        return spi_printtup(slot, self);
    }
    static void Ignore(DestReceiver *) {}
};

// Raises IL010 when the budget ends the wait, 55P03 when the caller's own lock_timeout does.
Rows RunWaiting(Statement &statement, const Params &params, locking::WaitBudget &budget) {
    if (budget.unlimited()) {
        return statement.Run(params);
    }
    RenewingReceiver receiver{{RenewingReceiver::Receive, spi_dest_startup,
                               RenewingReceiver::Ignore, RenewingReceiver::Ignore, DestSPI},
                              &budget,
                              LockTimeout};
    statement.Prepare();
    char limit[32];
    std::snprintf(limit, sizeof(limit), "%d", receiver.LimitMs());
    const char *const value = limit;
    const int nest_level = pg::Call([value] {
        const int level = NewGUCNestLevel();
        set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
                          0, false);
        return level;
    });
    try {
        const Rows rows = statement.Run(params, &receiver.base);
        pg::Call([nest_level] { AtEOXact_GUC(true, nest_level); });
        return rows;
    } catch (const pg::PgError &error) {
        if (!IsLockTimeout(error) || budget.LeftMs() > 0) {
            throw;
        }
    }
    throw RowTimedOut();
}

// The same for what runs no statement, and so nobody's code that could look at the setting.
template <typename Wait>
auto WaitDirectly(locking::WaitBudget &budget, Wait wait) {
    const locking::ScopedWaitLimit limit(budget);
    try {
        return wait(limit);
    } catch (const pg::PgError &error) {
        if (!IsLockTimeout(error) || !limit.IsOver()) {
            throw;
        }
    }
    throw RowTimedOut();
}

// Runs what locks rows, and counts how long that took and how it ended.
template <typename Run>
auto CountRowWait(locking::LockKind lock_kind, Run run) {
    const auto kind = static_cast<uint8>(lock_kind);
    const int64 started_us = pg::BootUs();
    const auto count = [&](shared::Ended ended) {
        if (pg::settings::track_wait_timing) {
            shared::CountWait(kind, shared::Wait::kRow, ended, pg::BootUs() - started_us);
        }
    };
    try {
        auto rows = run();
        count(shared::Ended::kGot);
        return rows;
    } catch (const pg::SqlError &error) {
        if (error.sqlstate() == pg::kLockWaitTimeout) {  // our limit
            shared::Count(kind, shared::Counter::kTimedOut);
            count(shared::Ended::kTimedOut);
        }
        throw;
    } catch (const pg::PgError &error) {
        const int state = error.edata != nullptr ? error.edata->sqlerrcode : 0;
        const bool timed_out = state == ERRCODE_LOCK_NOT_AVAILABLE;
        if (timed_out || state == ERRCODE_QUERY_CANCELED ||
            state == ERRCODE_T_R_DEADLOCK_DETECTED) {
            shared::Count(kind,
                          timed_out ? shared::Counter::kTimedOut : shared::Counter::kCancelled);
            count(timed_out ? shared::Ended::kTimedOut : shared::Ended::kCancelled);
        }
        throw;
    }
}

Params ParamsOf(const StockNeed &need) {
    Params params;
    params.Value(need.variant.value);
    if (need.location) {
        params.Value(need.location->value);
    } else {
        params.Null();
    }
    return params;
}

// The rows of one need, by statement.
std::vector<Level> LockOne(Binding &binding, const StockNeed &need, LockTupleMode mode,
                           locking::WaitBudget &budget) {
    Statement &statement = mode == LockTupleNoKeyExclusive
                               ? binding.Plan(PlanId::kLockLevelNoKey, BuildLockOneNoKey)
                               : binding.Plan(PlanId::kLockLevel, BuildLockOne);
    const Rows rows = RunWaiting(statement, ParamsOf(need), budget);
    std::vector<Level> levels;
    for (size_t i = 0; i < rows.size(); i++) {
        levels.push_back(ReadLevel(rows, i));
    }
    return levels;
}

// What is tried first may have locked some rows when it fails; they are locked once more.
std::vector<std::vector<Level>> LockRowsOf(Binding &binding, const std::vector<StockNeed> &needs,
                                           locking::WaitBudget &budget, const SeenLevels &seen) {
    const LockTupleMode mode =
        UseNoKeyUpdate(binding) ? LockTupleNoKeyExclusive : LockTupleExclusive;
    if (seen && WaitDirectly(budget, [&](const locking::ScopedWaitLimit &limit) {
            return LockIfUnchanged(binding, *seen, mode, limit);
        })) {
        return *seen;
    }
    if (auto levels = WaitDirectly(budget, [&](const locking::ScopedWaitLimit &limit) {
            return LockDirectly(binding, needs, mode, limit);
        })) {
        return std::move(*levels);
    }
    if (needs.size() == 1) {
        return {LockOne(binding, needs[0], mode, budget)};
    }
    Statement &statement = mode == LockTupleNoKeyExclusive
                               ? binding.Plan(PlanId::kLockLevelsNoKey, BuildLockManyNoKey)
                               : binding.Plan(PlanId::kLockLevels, BuildLockMany);
    return ReadMany(RunWaiting(statement, ArraysOf(binding, needs), budget), needs.size());
}

}  // namespace

std::vector<std::vector<Level>> LockLevels(Binding &binding, const std::vector<StockNeed> &needs,
                                           locking::WaitBudget &budget, const SeenLevels &seen) {
    std::vector<std::vector<Level>> levels = CountRowWait(
        locking::LockKind::kInventory, [&] { return LockRowsOf(binding, needs, budget, seen); });
    CoverProducts(binding, needs, levels, budget);
    FillDerived(binding, needs, &levels);
    return levels;
}

SeenLevels SeeLevels(Binding &binding, const std::vector<StockNeed> &needs) {
    return ReadDirectly(binding, needs);
}

const Level *OnlyLevelToWrite(Binding &binding, const StockNeed &need, const SeenLevels &seen,
                              locking::WaitBudget &budget) {
    if (!seen || pg::settings::row_lock == pg::settings::kRowLockUpdate || binding.counts_holds() ||
        binding.fences_in_ledger()) {
        return nullptr;
    }
    CoverProducts(binding, {need}, *seen, budget);
    return &seen->front().front();
}

void WaitForRow(locking::LockKind kind, locking::WaitBudget &budget,
                const std::function<void()> &wait) {
    CountRowWait(kind, [&] {
        WaitDirectly(budget, [&](const locking::ScopedWaitLimit &) {
            wait();
            return true;
        });
        return true;
    });
}

std::vector<std::vector<Level>> PeekLevels(Binding &binding, const std::vector<StockNeed> &needs) {
    std::vector<std::vector<Level>> levels;
    if (auto found = ReadDirectly(binding, needs)) {
        levels = std::move(*found);
    } else {
        Statement &statement = binding.Plan(PlanId::kPeekLevels, BuildPeek);
        levels = ReadMany(statement.Run(ArraysOf(binding, needs)), needs.size());
    }
    FillDerived(binding, needs, &levels);
    return levels;
}

Rows LockRows(locking::LockKind lock_kind, Statement &statement, const Params &params,
              locking::WaitBudget &budget) {
    return CountRowWait(lock_kind, [&] { return RunWaiting(statement, params, budget); });
}

}  // namespace inventory_lock::commerce
