// Adjusts one variant's stock: see adjustment.hpp.

#include "commerce/adjustment.hpp"

#include "commerce/direct_write.hpp"
#include "commerce/json.hpp"
#include "commerce/level_rows.hpp"
#include "commerce/outbox.hpp"
#include "commerce/reservations.hpp"
#include "commerce/sold_out.hpp"
#include "pg/injection.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

std::unique_ptr<Statement> BuildFindRequest(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT {s:movement.movement_id|NULL}::pg_catalog.text,"
                    " (s.{movement.variant_id})::pg_catalog.text,"
                    " {s:movement.location_id|'main'}::pg_catalog.text,"
                    " (s.{movement.delta})::pg_catalog.int8,"
                    " {s:movement.on_hand_after|NULL}::pg_catalog.int8,"
                    " {s:movement.reason|NULL}::pg_catalog.text,"
                    " {s:movement.reference_type|NULL}::pg_catalog.text,"
                    " {s:movement.reference_id|NULL}::pg_catalog.text,"
                    " {s:movement.fence|0}::pg_catalog.int8,"
                    " {s:movement.protection|NULL}::pg_catalog.text,"
                    " {s:movement.kind|NULL}::pg_catalog.text"
                    " FROM {movement} s WHERE s.{movement.request_key}{=}$1"),
        std::vector<Oid>{TEXTOID});
}

[[noreturn]] void RequestKeyReused(const std::string &key, const std::string &what) {
    throw pg::SqlError(pg::kIdempotencyKeyReused,
                       "request_key \"" + key + "\" has been used by another request",
                       what + " differs.");
}

void CheckQuantity(const Adjustment &adjustment) {
    if (adjustment.counted) {
        if (*adjustment.counted < 0) {
            throw pg::SqlError(pg::kInvalidQuantity, "argument \"counted\" must not be negative");
        }
        return;
    }
    // The lowest bigint has no positive counterpart.
    if (adjustment.delta == 0 || adjustment.delta == std::numeric_limits<int64>::min()) {
        throw pg::SqlError(pg::kInvalidQuantity, adjustment.delta == 0 ? "delta must not be zero"
                                                                       : "delta is out of range");
    }
}

bool IsShort(const std::vector<Level> &levels, const Adjustment &adjustment) {
    return adjustment.delta < 0 &&
           std::none_of(levels.begin(), levels.end(), [&adjustment](const Level &level) {
               return level.Takeable(adjustment.floor) >= -adjustment.delta;
           });
}

bool Fits(const Binding &binding, const Adjustment &adjustment, const Level &level) {
    int64 delta = adjustment.delta;
    return !(adjustment.counted &&
             __builtin_sub_overflow(*adjustment.counted, level.on_hand, &delta)) &&
           SumOfStock(binding, level, delta).has_value();
}

// What a stock take changes.
int64 DeltaToCounted(const Level &level, int64 counted) {
    int64 delta;
    if (__builtin_sub_overflow(counted, level.on_hand, &delta)) {
        throw pg::SqlError(pg::kInvalidQuantity, "quantity out of range");
    }
    return delta;
}

int64 DeltaOf(const Adjustment &adjustment, const Level &level) {
    return adjustment.counted ? DeltaToCounted(level, *adjustment.counted) : adjustment.delta;
}

// Changes the only level of a variant without locking its row first: most often nobody else has it,
// and the update is the lock. nullopt, and nothing written, when it has been changed since it was
// seen, or there is anything to refuse: the row is locked for that.
std::optional<AdjustmentResult> AdjustSeen(Binding &binding, const Adjustment &adjustment,
                                           const StockNeed &need, const SeenLevels &seen,
                                           StockLocks &locks, locking::WaitBudget &budget) {
    if (!CanWriteDirectly(binding)) {
        return std::nullopt;
    }
    const Level *const level = OnlyLevelToWrite(binding, need, seen, budget);
    if (level == nullptr || IsShort({*level}, adjustment) || !Fits(binding, adjustment, *level) ||
        (adjustment.expected && level->on_hand != *adjustment.expected)) {
        return std::nullopt;
    }
    StockChange change;
    change.variant = need.variant;
    change.level = *level;
    change.delta = DeltaOf(adjustment, change.level);
    change.grant = locks.FenceFor(need.variant.text, change.level);
    IL_INJECT("change-writing");
    std::optional<WrittenChange> written;
    WaitForRow(locking::LockKind::kInventory, budget,
               [&] { written = WriteIfUnchanged(binding, change, adjustment.occasion); });
    IL_INJECT("change-written");
    if (!written) {
        return std::nullopt;
    }
    WriteEvent(binding, change);
    return DescribeChange(change, *written);
}

}  // namespace

std::shared_ptr<Binding> OpenForStock(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                 kEventAccess});
}

std::optional<AdjustmentResult> FindEarlierAnswer(Binding &binding, const Adjustment &adjustment,
                                                  const StockNeed &need) {
    const Occasion &occasion = adjustment.occasion;
    if (!occasion.request_key) {
        return std::nullopt;
    }
    Params params;
    params.Text(occasion.request_key);
    const Rows rows = binding.Plan(PlanId::kFindRequest, BuildFindRequest).Run(params);
    if (rows.empty()) {
        return std::nullopt;
    }
    AdjustmentResult result;
    result.movement_id = rows.Text(0, 0);
    result.variant_id = rows.Text(0, 1);
    result.location_id = rows.Text(0, 2);
    result.delta = rows.Int8(0, 3);
    result.quantity_after = rows.OptionalInt8(0, 4);
    if (result.quantity_after) {
        result.quantity_before = *result.quantity_after - result.delta;
    }
    result.fence = static_cast<uint64>(rows.Int8(0, 8));
    result.protection = rows.Text(0, 9);
    result.replayed = true;
    // What the table does not keep cannot be compared.
    const auto require = [&](const char *role, bool same, const char *name) {
        if (!same && binding.find(TableId::kMovement, role) != nullptr) {
            RequestKeyReused(*occasion.request_key, name);
        }
    };
    require("variant_id", result.variant_id == need.variant.text, "variant_id");
    require("location_id", !need.location || result.location_id == need.location->text,
            "location_id");
    require("kind", rows.Text(0, 10) == occasion.kind, "kind");
    if (adjustment.counted) {
        require("on_hand_after", result.quantity_after == *adjustment.counted, "counted");
    } else {
        require("delta", result.delta == adjustment.delta, "delta");
    }
    require("reason", rows.Text(0, 5) == occasion.reason, "reason");
    require("reference_type", rows.OptionalText(0, 6) == occasion.reference_type, "reference_type");
    require("reference_id", rows.OptionalText(0, 7) == occasion.reference_id, "reference_id");
    const std::vector<Level> levels = PeekLevels(binding, {need})[0];
    for (const Level &level : levels) {
        if (level.location == result.location_id) {
            result.available = level.Available();
            result.stock_status = level.Status();
            result.version = level.version;
        }
    }
    FlushBehindFirstWriter();
    return result;
}

void FlushBehindFirstWriter() {
    RunOnce("SELECT pg_catalog.pg_logical_emit_message(true, 'inventory_lock', '')");
}

AdjustmentResult AdjustStock(Binding &binding, const Adjustment &adjustment,
                             locking::WaitBudget &budget) {
    CheckQuantity(adjustment);
    const std::vector<StockNeed> needs = {
        MakeNeed(binding, adjustment.variant_id, adjustment.location_id)};
    const StockNeed &need = needs[0];
    if (auto answer = FindEarlierAnswer(binding, adjustment, need)) {
        return *answer;
    }
    const bool takes = adjustment.delta < 0 && !adjustment.counted && !adjustment.expected;
    if (takes) {
        if (const auto seen = PeekIfSoldOut(binding, needs); seen && !(*seen)[0].empty()) {
            if (IsShort((*seen)[0], adjustment)) {
                // The last units may have gone to this very request, a moment ago.
                if (auto answer = FindEarlierAnswer(binding, adjustment, need)) {
                    return *answer;
                }
            }
            ChooseLevel(need, (*seen)[0], adjustment.delta, adjustment.floor);  // or IL001
            RememberEnough(needs);
        }
    }
    StockLocks locks = StockLocks::Ask(binding, needs, budget);
    const SeenLevels seen = SeeLevels(binding, needs);
    IL_INJECT("change-seen");
    locks.AwaitAll(budget);
    if (auto answer = FindEarlierAnswer(binding, adjustment, need)) {
        return *answer;
    }
    if (auto answer = AdjustSeen(binding, adjustment, need, seen, locks, budget)) {
        return *answer;
    }
    // Looked up anew: before there is anything to refuse, a location may have come meanwhile.
    std::vector<std::vector<Level>> locked = LockLevels(binding, needs, budget);
    if (IsShort(locked[0], adjustment) && FreeExpiredHolds(binding, locks, needs, locked)) {
        locked = LockLevels(binding, needs, budget);
    }
    IL_INJECT("change-rows-locked");
    const std::vector<Level> &levels = locked[0];
    if (takes && IsShort(levels, adjustment)) {
        RememberShort(needs);
    }
    StockChange change;
    change.variant = need.variant;
    // A stock take without location is about the same level as an increase.
    change.level =
        ChooseLevel(need, levels, adjustment.counted ? 1 : adjustment.delta, adjustment.floor);
    change.delta = DeltaOf(adjustment, change.level);
    if (adjustment.expected && change.level.on_hand != *adjustment.expected) {
        throw pg::SqlError(pg::kExpectedQuantityMismatch,
                           "stock of variant \"" + need.variant.text + "\" is not as expected",
                           "Expected " + std::to_string(*adjustment.expected) + ", found " +
                               std::to_string(change.level.on_hand) + ".",
                           "Read the stock again and decide anew.");
    }
    AddToStock(binding, change.level, change.delta);
    change.grant = locks.FenceFor(need.variant.text, change.level);
    IL_INJECT("change-writing");
    const WrittenChange written = WriteChange(binding, change, adjustment.occasion);
    IL_INJECT("change-written");
    return DescribeChange(change, written);
}

const Level &ChooseLevel(const StockNeed &need, const std::vector<Level> &levels, int64 delta,
                         Floor floor) {
    if (levels.empty()) {
        throw StockItemNotFound(need);
    }
    if (delta > 0) {
        if (levels.size() == 1) {
            return levels[0];
        }
        for (const Level &level : levels) {
            if (level.location == kMainLocation) {
                return level;
            }
        }
        throw pg::SqlError(pg::kStockItemNotFound,
                           "variant \"" + need.variant.text +
                               "\" has several locations and none is \"" + kMainLocation + "\"",
                           {}, "Say which location_id is meant.");
    }
    int64 most = std::numeric_limits<int64>::min();
    for (const Level &level : levels) {
        if (level.Takeable(floor) >= -delta) {
            return level;
        }
        most = std::max(most, level.Takeable(floor));
    }
    throw InsufficientStock({{need, -delta, std::max<int64>(0, most)}});
}

AdjustmentResult DescribeChange(const StockChange &change, const WrittenChange &written) {
    AdjustmentResult result;
    result.movement_id = written.movement_id;
    result.variant_id = change.variant.text;
    result.location_id = change.level.location;
    result.quantity_after = written.on_hand;
    result.delta = change.delta;
    result.quantity_before = written.on_hand - change.delta;
    Level after = change.level;
    after.on_hand = written.on_hand;
    result.available = after.Available();
    result.stock_status = after.Status();
    result.version = written.version;
    result.fence = change.grant.fence;
    result.protection = ProtectionName(change.grant);
    return result;
}

pg::SqlError InsufficientStock(const std::vector<Shortage> &shortages) {
    std::string detail = "[";
    for (const Shortage &shortage : shortages) {
        const auto &location = shortage.need.location;
        detail += detail.size() > 1 ? ", " : "";
        detail += "{\"variant_id\": " + JsonString(shortage.need.variant.text) +
                  ", \"location_id\": " + (location ? JsonString(location->text) : "null") +
                  ", \"requested\": " + std::to_string(shortage.requested) +
                  ", \"available\": " + std::to_string(shortage.available) + "}";
    }
    const std::string message =
        shortages.size() == 1
            ? "insufficient stock for variant \"" + shortages[0].need.variant.text + "\""
            : "insufficient stock for " + std::to_string(shortages.size()) + " variants";
    return pg::SqlError(pg::kInsufficientStock, message, detail + "]");
}

void RequireOnHand(const std::vector<StockChange> &changes) {
    std::vector<Shortage> shortages;
    for (const StockChange &change : changes) {
        Level unheld = change.level;
        unheld.held = 0;
        const int64 there = unheld.Takeable(Floor::kPhysical);
        if (there < -change.delta) {
            shortages.push_back({{change.variant, Id{change.level.location, 0}},
                                 -change.delta,
                                 std::max<int64>(0, there)});
        }
    }
    if (!shortages.empty()) {
        throw InsufficientStock(shortages);
    }
}

}  // namespace inventory_lock::commerce
