// Changes several levels at once: see several_levels.hpp.

#include "commerce/several_levels.hpp"

#include "commerce/order_request.hpp"

namespace inventory_lock::commerce {

namespace {

// Levels while items are applied to them, by variant and location.
using LevelKey = std::pair<std::string, std::string>;

struct WorkingLevel {
    StockChange change;
    bool changed = false;
};

// The sorted needs of all items, each once, and the place of every item's need among them.
struct NeedIndex {
    std::vector<StockNeed> needs;
    std::vector<size_t> of_item;
};

NeedIndex IndexNeeds(const std::vector<BulkItem> &items) {
    NeedIndex index;
    std::vector<size_t> order(items.size());
    for (size_t i = 0; i < order.size(); i++) {
        order[i] = i;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&items](size_t a, size_t b) { return items[a].need < items[b].need; });
    index.of_item.resize(items.size());
    for (const size_t item : order) {
        if (index.needs.empty() || index.needs.back() < items[item].need) {
            index.needs.push_back(items[item].need);
        }
        index.of_item[item] = index.needs.size() - 1;
    }
    return index;
}

// The levels of one need as they are now, with what earlier items have done.
std::vector<Level> CurrentLevels(const StockNeed &need, const std::vector<Level> &locked,
                                 const std::map<LevelKey, WorkingLevel> &working) {
    std::vector<Level> current = locked;
    for (Level &level : current) {
        level.on_hand += working.at({need.variant.text, level.location}).change.delta;
    }
    return current;
}

void ApplyItem(const Binding &binding, const BulkItem &item, const std::vector<Level> &locked,
               std::map<LevelKey, WorkingLevel> *working, BulkOutcome *outcome) {
    const std::vector<Level> current = CurrentLevels(item.need, locked, *working);
    const Level &level = ChooseLevel(item.need, current, item.delta, Floor::kPhysical);
    if (item.expected && level.on_hand != *item.expected) {
        throw pg::SqlError(pg::kExpectedQuantityMismatch,
                           "stock of variant \"" + item.need.variant.text + "\" is not as expected",
                           "Expected " + std::to_string(*item.expected) + ", found " +
                               std::to_string(level.on_hand) + ".");
    }
    outcome->quantity_after = AddToStock(binding, level, item.delta);
    outcome->quantity_before = level.on_hand;
    outcome->location_id = level.location;
    WorkingLevel &target = working->at({item.need.variant.text, level.location});
    target.change.delta += item.delta;
    target.changed = true;
}

// Failures of a call that does all or nothing: every shortage, or else the first other one.
void RaiseFailures(const std::vector<Shortage> &shortages,
                   const std::optional<pg::SqlError> &first_other) {
    if (first_other) {
        throw *first_other;
    }
    if (!shortages.empty()) {
        throw InsufficientStock(shortages);
    }
}

Shortage ShortageOf(const BulkItem &item, const std::vector<Level> &current) {
    int64 most = 0;
    for (const Level &level : current) {
        most = std::max(most, level.Takeable(Floor::kPhysical));
    }
    return {item.need, -item.delta, most};
}

pg::SqlError AtItem(size_t item, const pg::SqlError &error) {
    return pg::SqlError(error.sqlstate(), ElementPath("items", item) + ": " + error.message(),
                        error.detail(), error.hint());
}

const Level &LevelAt(const std::vector<Level> &levels, const StockNeed &need) {
    for (const Level &level : levels) {
        if (level.location == need.location->text) {
            return level;
        }
    }
    throw StockItemNotFound(need);
}

// Both halves of a transfer that an earlier call with the same request_key has made.
std::optional<std::vector<AdjustmentResult>> FindEarlierTransfer(Binding &binding,
                                                                 const Transfer &transfer,
                                                                 const StockNeed &from,
                                                                 const StockNeed &to) {
    const std::string prefix = "transfer:" + *transfer.occasion.request_key + ":";
    Adjustment half;
    half.occasion = transfer.occasion;
    half.occasion.kind = "transfer_out";
    half.occasion.request_key = prefix + "1";
    half.delta = -transfer.quantity;
    try {
        const auto out = FindEarlierAnswer(binding, half, from);
        half.occasion.kind = "transfer_in";
        half.occasion.request_key = prefix + "2";
        half.delta = transfer.quantity;
        const auto in = out ? FindEarlierAnswer(binding, half, to) : std::nullopt;
        return in ? std::optional<std::vector<AdjustmentResult>>({*out, *in}) : std::nullopt;
    } catch (const pg::SqlError &error) {
        // Say the key that the caller knows.
        throw pg::SqlError(error.sqlstate(),
                           "request_key \"" + *transfer.occasion.request_key +
                               "\" has been used by another request",
                           error.detail());
    }
}

}  // namespace

std::vector<BulkItem> ReadBulkItems(const Binding &binding, const Json &items) {
    std::vector<BulkItem> result;
    if (CheckArray(items, "items").items.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "items must not be empty");
    }
    result.reserve(items.items.size());
    for (size_t i = 0; i < items.items.size(); i++) {
        const std::string path = ElementPath("items", i);
        const Json &json = CheckObject(items.items[i], path);
        CheckMembers(json, {"variant_id", "delta", "location_id", "expected"}, path);
        BulkItem item;
        const std::string variant = ReadId(json, "variant_id", path);
        const auto location = ReadOptionalId(json, "location_id", path);
        try {
            item.need = MakeNeed(binding, variant, location);
        } catch (const pg::SqlError &error) {
            throw AtItem(i, error);
        }
        const auto delta = ReadOptionalInteger(json, "delta", path);
        if (!delta) {
            throw pg::SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                               path + ".delta must be given and not be null");
        }
        if (*delta == 0) {
            throw pg::SqlError(pg::kInvalidQuantity, path + ".delta must not be zero");
        }
        item.delta = *delta;
        item.expected = ReadOptionalInteger(json, "expected", path);
        result.push_back(std::move(item));
    }
    return result;
}

std::vector<BulkOutcome> AdjustBulk(Binding &binding, const std::vector<BulkItem> &items,
                                    BulkPolicy policy, const Occasion &occasion,
                                    locking::WaitBudget &budget) {
    const NeedIndex index = IndexNeeds(items);
    StockLocks locks = StockLocks::Acquire(binding, index.needs, budget);
    const std::vector<std::vector<Level>> levels = LockLevels(binding, index.needs, budget);
    std::map<LevelKey, WorkingLevel> working;
    for (size_t i = 0; i < index.needs.size(); i++) {
        for (const Level &level : levels[i]) {
            WorkingLevel &entry = working[{index.needs[i].variant.text, level.location}];
            entry.change.variant = index.needs[i].variant;
            entry.change.level = level;
        }
    }
    std::vector<BulkOutcome> outcomes(items.size());
    std::vector<Shortage> shortages;
    std::optional<pg::SqlError> first_other;
    for (size_t i = 0; i < items.size(); i++) {
        const std::vector<Level> &locked = levels[index.of_item[i]];
        outcomes[i].variant_id = items[i].need.variant.text;
        outcomes[i].delta = items[i].delta;
        try {
            ApplyItem(binding, items[i], locked, &working, &outcomes[i]);
        } catch (const pg::SqlError &error) {
            outcomes[i].sqlstate = unpack_sql_state(error.sqlstate());
            outcomes[i].message = error.message();
            if (error.sqlstate() == pg::kInsufficientStock) {
                shortages.push_back(
                    ShortageOf(items[i], CurrentLevels(items[i].need, locked, working)));
            } else if (!first_other) {
                first_other = AtItem(i, error);
            }
        }
    }
    if (policy == BulkPolicy::kAllOrNothing) {
        RaiseFailures(shortages, first_other);
    }
    std::vector<StockChange> changes;
    for (auto &entry : working) {
        if (entry.second.changed) {
            StockChange &change = entry.second.change;
            change.grant = locks.FenceFor(change.variant.text, change.level);
            changes.push_back(change);
        }
    }
    if (!changes.empty()) {
        WriteChanges(binding, changes, occasion);
    }
    for (BulkOutcome &outcome : outcomes) {
        if (!outcome.sqlstate) {
            outcome.grant = working.at({outcome.variant_id, *outcome.location_id}).change.grant;
        }
    }
    return outcomes;
}

std::vector<AdjustmentResult> TransferStock(Binding &binding, const Transfer &transfer,
                                            locking::WaitBudget &budget) {
    std::vector<StockNeed> needs = {MakeNeed(binding, transfer.variant_id, transfer.from_location),
                                    MakeNeed(binding, transfer.variant_id, transfer.to_location)};
    const StockNeed from = needs[0];
    const StockNeed to = needs[1];
    if (from.location->text == to.location->text) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "arguments \"from_location\" and \"to_location\" must differ");
    }
    std::sort(needs.begin(), needs.end());
    Occasion occasion = transfer.occasion;
    occasion.kind = "transfer";
    if (occasion.request_key) {
        occasion.request_key = "transfer:" + *occasion.request_key + ":";
        if (auto answer = FindEarlierTransfer(binding, transfer, from, to)) {
            return *answer;
        }
    }
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    if (occasion.request_key) {
        if (auto answer = FindEarlierTransfer(binding, transfer, from, to)) {
            return *answer;
        }
    }
    const std::vector<std::vector<Level>> rows = LockLevels(binding, needs, budget);
    std::vector<Level> levels = rows[0];
    levels.insert(levels.end(), rows[1].begin(), rows[1].end());
    std::vector<StockChange> changes(2);
    changes[0].variant = from.variant;
    changes[0].level = LevelAt(levels, from);
    changes[0].delta = -transfer.quantity;
    changes[1].variant = to.variant;
    changes[1].level = LevelAt(levels, to);
    changes[1].delta = transfer.quantity;
    ChooseLevel(from, {changes[0].level}, changes[0].delta, Floor::kPhysical);
    for (StockChange &change : changes) {
        AddToStock(binding, change.level, change.delta);
        change.grant = locks.FenceFor(change.variant.text, change.level);
    }
    const std::vector<WrittenChange> written = WriteChanges(binding, changes, occasion);
    return {DescribeChange(changes[0], written[0]), DescribeChange(changes[1], written[1])};
}

}  // namespace inventory_lock::commerce
