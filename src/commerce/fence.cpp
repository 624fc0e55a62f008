// Checks the fences of writers from outside: see fence.hpp.

#include "commerce/fence.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/stock_level.hpp"
#include "locking/administration.hpp"
#include "locking/lock_name.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr std::string_view kStockPrefix = "inventory_lock:";
constexpr const char *kDefaultBinding = "default";

[[noreturn]] void Refuse(const std::string &key, int64 given, int64 newer) {
    throw pg::SqlError(
        pg::kLockLost, "lock \"" + key + "\" has been given to somebody since",
        "The fence is " + std::to_string(given) + ", the newest one " + std::to_string(newer) + ".",
        "Take the lock again and repeat the work.");
}

bool HasBinding(const char *name) {
    const Rows rows =
        RunOnce("SELECT 1 FROM inventory_lock.binding b WHERE b.name OPERATOR(pg_catalog.=) $1",
                {TEXTOID}, Params().Text(name));
    return !rows.empty();
}

// Raises the fence in the rows of a stock key. False when the key belongs to no row.
bool RaiseInRows(const std::string &key, int64 fence, const std::string &binding_name) {
    if (key.compare(0, kStockPrefix.size(), kStockPrefix) != 0 ||
        (binding_name == kDefaultBinding && !HasBinding(kDefaultBinding))) {
        return false;
    }
    const auto binding =
        OpenBinding(binding_name, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE}});
    const Column &variant_column = binding->column(TableId::kStockLevel, "variant_id");
    const Column *location_column = binding->find(TableId::kStockLevel, "location_id");
    std::string variant = key.substr(kStockPrefix.size());
    std::string location;
    const size_t at = variant.rfind('@');
    if (binding->lock_per_location() && location_column != nullptr && at != std::string::npos) {
        location = variant.substr(at + 1);
        variant.resize(at);
        if (!CouldBeId(*location_column, location)) {
            return false;
        }
    }
    if (!CouldBeId(variant_column, variant)) {
        return false;
    }
    if (binding->find(TableId::kStockLevel, "fence") == nullptr) {
        const StockNeed need =
            MakeNeed(*binding, variant,
                     location.empty() ? std::nullopt : std::optional<std::string>(location));
        const std::vector<Level> levels = PeekLevels(*binding, {need})[0];
        for (const Level &level : levels) {
            if (level.fence > static_cast<uint64>(fence)) {
                Refuse(key, fence, static_cast<int64>(level.fence));
            }
        }
        return false;
    }
    Params params;
    params.Value(ParseId(variant_column, variant, "key").value);
    std::vector<Oid> types = {variant_column.type};
    std::string condition = "s.{stock_level.variant_id}{=}$1{live}";
    if (!location.empty()) {
        params.Value(ParseId(*location_column, location, "key").value);
        types.push_back(location_column->type);
        condition += " AND s.{stock_level.location_id}{=}$2";
    }
    const Rows rows =
        RunOnce(binding->Sql("SELECT COALESCE(s.{stock_level.fence}, 0)::pg_catalog.int8 FROM "
                             "{stock_level} s WHERE " +
                             condition + " FOR NO KEY UPDATE OF s"),
                types, params);
    for (size_t i = 0; i < rows.size(); i++) {
        if (rows.Int8(i, 0) > fence) {
            Refuse(key, fence, rows.Int8(i, 0));
        }
    }
    if (rows.empty()) {
        return false;
    }
    params.Int8(fence);
    types.push_back(INT8OID);
    RunOnce(binding->Sql("UPDATE {stock_level} s SET {stock_level.fence} = $" +
                         std::to_string(types.size()) + " WHERE " + condition),
            types, params);
    return true;
}

void RaiseInTable(const std::string &key, int64 fence) {
    const Rows rows = RunOnce(
        "INSERT INTO inventory_lock.fence AS f (key, fence) VALUES ($1, $2)"
        " ON CONFLICT (key) DO UPDATE SET"
        " fence = GREATEST(f.fence, EXCLUDED.fence), updated_at = pg_catalog.now()"
        " RETURNING f.fence",
        {TEXTOID, INT8OID}, Params().Text(key).Int8(fence));
    if (rows.Int8(0, 0) > fence) {
        Refuse(key, fence, rows.Int8(0, 0));
    }
}

}  // namespace

void AssertFence(const std::string &key, int64 fence, const std::string &binding_name) {
    locking::CheckWholeKey(key);
    if (fence <= 0) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "fence must be positive");
    }
    const auto newest = static_cast<int64>(locking::HighestFence(key));
    if (newest > fence) {
        Refuse(key, fence, newest);
    }
    if (!RaiseInRows(key, fence, binding_name)) {
        RaiseInTable(key, fence);
    }
}

}  // namespace inventory_lock::commerce
