// Locks and reads stock levels: see stock_level.hpp for the order of locking.

#include "commerce/stock_level.hpp"

#include "commerce/derived_level.hpp"
#include "commerce/direct_level.hpp"
#include "commerce/product.hpp"
#include "locking/lock_name.hpp"
#include "locking/lock_timeout.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "shared/counters.hpp"

extern "C" {
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

// A sum of bigints, held within the range of bigint.
int64 Clamp(__int128 number) {
    constexpr int64 kMin = std::numeric_limits<int64>::min();
    constexpr int64 kMax = std::numeric_limits<int64>::max();
    return number < kMin ? kMin : number > kMax ? kMax : static_cast<int64>(number);
}

// Says the id's own name, which the key builder does not know.
void CheckKeyId(const std::string &id, const char *argument) {
    if (id.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "argument \"" + std::string(argument) + "\" must not be empty");
    }
}

// What is left of the budget when that is what ends a wait for a row; 0 = the caller's lock_timeout
// does, or nothing.
int LimitMs(locking::WaitBudget &budget) {
    const int64 left_ms = budget.unlimited() ? 0 : std::max<int64>(1, budget.LeftMs());
    const bool ours = left_ms > 0 && left_ms < std::numeric_limits<int>::max() &&
                      (LockTimeout == 0 || left_ms < LockTimeout);
    return ours ? static_cast<int>(left_ms) : 0;
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

// Raises IL010 when the budget ends the wait, 55P03 when the caller's own lock_timeout does.
Rows RunWaiting(Statement &statement, const Params &params, locking::WaitBudget &budget) {
    const int limit_ms = LimitMs(budget);
    if (limit_ms == 0) {
        return statement.Run(params);
    }
    statement.Prepare();
    char limit[32];
    std::snprintf(limit, sizeof(limit), "%d", limit_ms);
    const char *const value = limit;
    const int nest_level = pg::Call([value] {
        const int level = NewGUCNestLevel();
        set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
                          0, false);
        return level;
    });
    try {
        const Rows rows = statement.Run(params);
        pg::Call([nest_level] { AtEOXact_GUC(true, nest_level); });
        return rows;
    } catch (const pg::PgError &error) {
        if (!IsLockTimeout(error)) {
            throw;
        }
    }
    throw RowTimedOut();
}

// The same for LockDirectly(), which runs nobody's code that could look at the setting.
std::optional<Level> LockDirectlyWaiting(Binding &binding, const StockNeed &need,
                                         LockTupleMode mode, locking::WaitBudget &budget) {
    const int limit_ms = LimitMs(budget);
    try {
        const locking::ScopedLockTimeout timeout(limit_ms != 0 ? limit_ms : LockTimeout);
        return LockDirectly(binding, need, mode);
    } catch (const pg::PgError &error) {
        if (limit_ms == 0 || !IsLockTimeout(error)) {
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
    } catch (const pg::SqlError &) {  // our limit
        shared::Count(kind, shared::Counter::kTimedOut);
        count(shared::Ended::kTimedOut);
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

std::vector<Level> LockOne(Binding &binding, const StockNeed &need, locking::WaitBudget &budget) {
    const bool no_key = UseNoKeyUpdate(binding);
    return CountRowWait(locking::LockKind::kInventory, [&] {
        std::vector<Level> levels;
        if (const auto level = LockDirectlyWaiting(
                binding, need, no_key ? LockTupleNoKeyExclusive : LockTupleExclusive, budget)) {
            levels.push_back(*level);
            return levels;
        }
        Statement &statement = no_key ? binding.Plan(PlanId::kLockLevelNoKey, BuildLockOneNoKey)
                                      : binding.Plan(PlanId::kLockLevel, BuildLockOne);
        const Rows rows = RunWaiting(statement, ParamsOf(need), budget);
        for (size_t i = 0; i < rows.size(); i++) {
            levels.push_back(ReadLevel(rows, i));
        }
        return levels;
    });
}

// False when the statement has to be run; it locks what has been locked once more.
bool LockEachDirectly(Binding &binding, const std::vector<StockNeed> &needs,
                      locking::WaitBudget &budget, std::vector<std::vector<Level>> *levels) {
    const LockTupleMode mode =
        UseNoKeyUpdate(binding) ? LockTupleNoKeyExclusive : LockTupleExclusive;
    const bool all = CountRowWait(locking::LockKind::kInventory, [&] {
        for (const StockNeed &need : needs) {
            const auto level = LockDirectlyWaiting(binding, need, mode, budget);
            if (!level) {
                return false;
            }
            levels->push_back({*level});
        }
        return true;
    });
    if (!all) {
        levels->clear();
    }
    return all;
}

}  // namespace

int64 Level::Available() const {
    return Clamp(static_cast<__int128>(on_hand) - held - safety_stock);
}

int64 Level::Takeable(Floor floor) const {
    const int64 kept = floor == Floor::kSale ? safety_stock : 0;
    return Clamp(static_cast<__int128>(on_hand) - held - kept + backorder_limit);
}

const char *Level::Status() const {
    const int64 available = Available();
    if (available <= 0) {
        return "out_of_stock";
    }
    return low_stock_threshold && available <= *low_stock_threshold ? "low_stock" : "in_stock";
}

bool StockNeed::operator<(const StockNeed &other) const {
    if (variant.text != other.variant.text) {
        return variant.text < other.variant.text;
    }
    if (location.has_value() != other.location.has_value()) {
        return location.has_value();  // a named location is served before "any"
    }
    return location && location->text < other.location->text;
}

StockNeed MakeNeed(const Binding &binding, const std::string &variant,
                   const std::optional<std::string> &location) {
    StockNeed need;
    CheckKeyId(variant, "variant_id");
    need.variant =
        ParseId(binding.column(TableId::kStockLevel, "variant_id"), variant, "variant_id");
    if (location) {
        CheckKeyId(*location, "location_id");
        const Column *const column = binding.find(TableId::kStockLevel, "location_id");
        need.location = column != nullptr ? ParseId(*column, *location, "location_id")
                                          : Id{*location, TextDatum(*location)};
    }
    // Whether a key can hold the ids is asked of the builder itself.
    locking::StockKey(need.variant.text, need.location ? need.location->text : std::string_view());
    return need;
}

std::string StockLocks::KeyOf(const std::string &variant, const std::string &location) const {
    return locking::StockKey(variant, per_location_ ? location : std::string());
}

void StockLocks::FindKeys(Binding &binding, const std::vector<StockNeed> &needs) {
    per_location_ = binding.lock_per_location();
    std::vector<std::vector<Level>> seen;
    const bool restricted = RowSecurityApplies(binding.table(TableId::kStockLevel));
    if (restricted || per_location_) {
        seen = PeekLevels(binding, needs);
    }
    const auto add = [this](const std::string &variant, const std::string &location) {
        requests_.push_back({KeyOf(variant, location), locking::LockKind::kInventory, 0});
    };
    requests_.reserve(needs.size());
    keys_end_.reserve(needs.size());
    for (size_t i = 0; i < needs.size(); i++) {
        if (restricted && seen[i].empty()) {
            throw StockItemNotFound(needs[i]);
        }
        if (!per_location_) {
            add(needs[i].variant.text, {});
        } else if (needs[i].location) {
            add(needs[i].variant.text, needs[i].location->text);
        } else {
            for (const Level &level : seen[i]) {
                add(needs[i].variant.text, level.location);
            }
        }
        keys_end_.push_back(requests_.size());
    }
    intents_ = ProductIntents(binding, needs);
}

StockLocks StockLocks::Acquire(Binding &binding, const std::vector<StockNeed> &needs,
                               locking::WaitBudget &budget,
                               std::vector<locking::LockRequest> with) {
    StockLocks locks;
    locks.FindKeys(binding, needs);
    const size_t others = with.size();
    std::vector<locking::LockRequest> requests = std::move(with);
    for (const auto *more : {&locks.requests_, &locks.intents_}) {
        requests.insert(requests.end(), more->begin(), more->end());
    }
    const std::vector<locking::Grant> grants = locking::AcquireLocks(requests, budget);
    for (size_t i = requests.size() - locks.intents_.size(); i < grants.size(); i++) {
        locks.products_in_redis_ = locks.products_in_redis_ && grants[i].redis;
    }
    locks.others_.assign(grants.begin(), grants.begin() + static_cast<ptrdiff_t>(others));
    return locks;
}

StockLocks StockLocks::Begin(Binding &binding, const std::vector<StockNeed> &needs,
                             locking::WaitBudget &budget) {
    StockLocks locks;
    locks.FindKeys(binding, needs);
    std::vector<locking::LockRequest> requests = locks.requests_;
    requests.insert(requests.end(), locks.intents_.begin(), locks.intents_.end());
    locks.sequence_.emplace(requests, budget);
    return locks;
}

void StockLocks::Await(size_t first, size_t end, locking::WaitBudget &budget) {
    for (const locking::LockRequest &intent : std::exchange(intents_, {})) {
        products_in_redis_ = products_in_redis_ && sequence_->Await(intent, budget).redis;
    }
    const size_t last = keys_end_[end - 1];
    size_t i = first > 0 ? keys_end_[first - 1] : 0;
    if (!per_location_) {
        i = last - 1;  // keys are in the order of the needs: the last comes last
    }
    for (; i < last; i++) {
        sequence_->Await(requests_[i], budget);
    }
}

locking::Grant StockLocks::FenceFor(const std::string &variant, const Level &level) {
    const std::string key = KeyOf(variant, level.location);
    std::optional<locking::Grant> grant = locking::HeldLock(key);
    if (!grant) {
        // Only with a lock per location: the row appeared after the keys had been chosen.
        throw pg::SqlError(ERRCODE_T_R_SERIALIZATION_FAILURE,
                           "the locations of variant \"" + variant + "\" have just changed", {},
                           "Retry the transaction.");
    }
    if (level.fence >= grant->fence) {
        grant = locking::FenceAbove(key, level.fence);
    }
    grant->redis = grant->redis && products_in_redis_;
    return *grant;
}

std::vector<std::vector<Level>> LockLevels(Binding &binding, const std::vector<StockNeed> &needs,
                                           locking::WaitBudget &budget) {
    std::vector<std::vector<Level>> levels;
    if (needs.size() == 1) {
        levels.push_back(LockOne(binding, needs[0], budget));
    } else if (!LockEachDirectly(binding, needs, budget, &levels)) {
        Statement &statement = UseNoKeyUpdate(binding)
                                   ? binding.Plan(PlanId::kLockLevelsNoKey, BuildLockManyNoKey)
                                   : binding.Plan(PlanId::kLockLevels, BuildLockMany);
        levels = ReadMany(
            LockRows(locking::LockKind::kInventory, statement, ArraysOf(binding, needs), budget),
            needs.size());
    }
    CoverProducts(binding, needs, levels, budget);
    FillDerived(binding, needs, &levels);
    return levels;
}

std::optional<Level> SeeLevel(Binding &binding, const StockNeed &need,
                              locking::WaitBudget &budget) {
    if (pg::settings::row_lock == pg::settings::kRowLockUpdate || binding.counts_holds() ||
        binding.fences_in_ledger()) {
        return std::nullopt;
    }
    auto level =
        CountRowWait(locking::LockKind::kInventory, [&] { return ReadDirectly(binding, need); });
    if (level) {
        CoverProducts(binding, {need}, {{*level}}, budget);
    }
    return level;
}

std::vector<std::vector<Level>> PeekLevels(Binding &binding, const std::vector<StockNeed> &needs) {
    std::vector<std::vector<Level>> levels;
    std::optional<Level> only;
    if (needs.size() == 1 && (only = ReadDirectly(binding, needs[0]))) {
        levels.push_back({*only});
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

int64 AddToStock(const Binding &binding, const Level &level, int64 delta) {
    __int128 min = std::numeric_limits<int64>::min();
    __int128 max = std::numeric_limits<int64>::max();
    const Oid type = binding.column(TableId::kStockLevel, "on_hand").type;
    if (type == INT4OID) {
        min = std::numeric_limits<int32>::min();
        max = std::numeric_limits<int32>::max();
    } else if (type == INT2OID) {
        min = std::numeric_limits<int16>::min();
        max = std::numeric_limits<int16>::max();
    }
    const __int128 sum = static_cast<__int128>(level.on_hand) + delta;
    if (sum < min || sum > max) {
        throw pg::SqlError(pg::kInvalidQuantity, "quantity out of range",
                           "The level is " + std::to_string(level.on_hand) + ", the change " +
                               std::to_string(delta) + ".");
    }
    return static_cast<int64>(sum);
}

pg::SqlError StockItemNotFound(const StockNeed &need) {
    std::string message = "variant \"" + need.variant.text + "\" has no stock level";
    if (need.location) {
        message += " at location \"" + need.location->text + "\"";
    }
    return pg::SqlError(pg::kStockItemNotFound, message);
}

locking::LockRequest OrderLock(const std::string &user_id, const std::string &idempotency_key) {
    return {locking::OrderKey(user_id, idempotency_key), locking::LockKind::kOrder, 0};
}

}  // namespace inventory_lock::commerce
