// Levels, their keys and what may be taken of them: see stock_level.hpp for the order of locking.

#include "commerce/stock_level.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/product.hpp"
#include "locking/lock_name.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

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
                               locking::WaitBudget &budget) {
    StockLocks locks = Begin(binding, needs, budget);
    locks.AwaitAll(budget);
    return locks;
}

StockLocks StockLocks::Ask(Binding &binding, const std::vector<StockNeed> &needs,
                           locking::WaitBudget &budget,
                           const std::vector<locking::LockRequest> &with) {
    StockLocks locks = Begin(binding, needs, budget, with);
    locks.sequence_->AskAhead(budget);
    return locks;
}

StockLocks StockLocks::Begin(Binding &binding, const std::vector<StockNeed> &needs,
                             locking::WaitBudget &budget,
                             const std::vector<locking::LockRequest> &with) {
    StockLocks locks;
    locks.FindKeys(binding, needs);
    std::vector<locking::LockRequest> requests = with;
    for (const auto *more : {&locks.requests_, &locks.intents_}) {
        requests.insert(requests.end(), more->begin(), more->end());
    }
    locks.sequence_.emplace(requests, budget);
    return locks;
}

void StockLocks::AwaitAll(locking::WaitBudget &budget) {
    sequence_->AwaitAll(budget);
    AwaitIntents(budget);
}

void StockLocks::AwaitIntents(locking::WaitBudget &budget) {
    for (const locking::LockRequest &intent : std::exchange(intents_, {})) {
        products_in_redis_ = products_in_redis_ && sequence_->Await(intent, budget).redis;
    }
}

void StockLocks::Await(size_t first, size_t end, locking::WaitBudget &budget) {
    AwaitIntents(budget);
    const size_t begin = first > 0 ? keys_end_[first - 1] : 0;
    size_t last = keys_end_[end - 1];
    size_t i = begin;
    if (!per_location_) {
        // Keys are in the order of the needs: the last comes last, of those not held before.
        while (last > begin + 1 && locking::HeldLock(requests_[last - 1].key)) {
            last--;
        }
        i = last - 1;
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

std::optional<int64> SumOfStock(const Binding &binding, const Level &level, int64 delta) {
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
    return sum < min || sum > max ? std::nullopt : std::optional<int64>(static_cast<int64>(sum));
}

int64 AddToStock(const Binding &binding, const Level &level, int64 delta) {
    const std::optional<int64> sum = SumOfStock(binding, level, delta);
    if (!sum) {
        throw pg::SqlError(pg::kInvalidQuantity, "quantity out of range",
                           "The level is " + std::to_string(level.on_hand) + ", the change " +
                               std::to_string(delta) + ".");
    }
    return *sum;
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
