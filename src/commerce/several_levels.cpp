// Changes several levels at once: see several_levels.hpp.

#include "commerce/several_levels.hpp"

#include "commerce/level_rows.hpp"
#include "commerce/order_request.hpp"
#include "commerce/reservations.hpp"

namespace inventory_lock::commerce {

namespace {

// A level while items are applied to it.
struct WorkingLevel {
    StockChange change;
    bool changed = false;
};

// The sorted needs of all items, each once; the items sorted by need, and where in them those of
// each need begin.
struct NeedIndex {
    std::vector<StockNeed> needs;
    std::vector<size_t> items;
    std::vector<size_t> begin;  // one more than needs
};

NeedIndex IndexNeeds(const std::vector<BulkItem> &items) {
    NeedIndex index;
    index.items.resize(items.size());
    for (size_t i = 0; i < items.size(); i++) {
        index.items[i] = i;
    }
    std::stable_sort(index.items.begin(), index.items.end(),
                     [&items](size_t a, size_t b) { return items[a].need < items[b].need; });
    for (size_t i = 0; i < items.size(); i++) {
        const StockNeed &need = items[index.items[i]].need;
        if (index.needs.empty() || index.needs.back() < need) {
            index.needs.push_back(need);
            index.begin.push_back(i);
        }
    }
    index.begin.push_back(items.size());
    return index;
}

// How many needs are worked off at a time, while Redis is asked for the locks of the next as many.
constexpr size_t kPart = 256;

// The end of the part that begins here. Needs of one variant can mean the same level.
size_t EndOfPart(const std::vector<StockNeed> &needs, size_t begin) {
    size_t end = std::min(needs.size(), begin + kPart);
    while (end < needs.size() && needs[end].variant.text == needs[end - 1].variant.text) {
        end++;
    }
    return end;
}

// Changes many levels, a part of the needs after the other.
class BulkChange final {
  public:
    BulkChange(Binding &binding, const std::vector<BulkItem> &items, BulkPolicy policy,
               const Occasion &occasion, locking::WaitBudget &budget)
        : binding_(binding),
          items_(items),
          policy_(policy),
          occasion_(occasion),
          budget_(budget),
          outcomes_(items.size()) {}

    std::vector<BulkOutcome> Run();

  private:
    using Failure = std::pair<size_t, pg::SqlError>;

    bool MayBeShort(size_t first, const std::vector<std::vector<Level>> &locked) const;
    void LockPart(size_t first, size_t end);
    void Apply(size_t number, const std::vector<size_t> &places);
    void WritePart();
    void RaiseFailures();
    bool Failed() const { return !shortages_.empty() || first_other_; }

    Binding &binding_;
    const std::vector<BulkItem> &items_;
    const BulkPolicy policy_;
    const Occasion &occasion_;
    locking::WaitBudget &budget_;
    NeedIndex index_;
    std::optional<StockLocks> locks_;
    std::vector<BulkOutcome> outcomes_;
    std::vector<std::pair<size_t, Shortage>> shortages_;  // by item
    std::optional<Failure> first_other_;

    // Of the present part.
    std::vector<WorkingLevel> working_;
    std::vector<std::vector<size_t>> levels_;            // of each need: places in working_
    std::vector<std::pair<size_t, size_t>> part_items_;  // items, with the need's number in it
    std::vector<std::pair<size_t, size_t>> written_;     // items that worked, and their places
};

Shortage ShortageOf(const BulkItem &item, const std::vector<Level> &current) {
    int64 most = 0;
    for (const Level &level : current) {
        most = std::max(most, level.Takeable(Floor::kPhysical));
    }
    return {item.need, -item.delta, most};
}

void CheckExpected(const BulkItem &item, const Level &level) {
    if (item.expected && level.on_hand != *item.expected) {
        throw pg::SqlError(pg::kExpectedQuantityMismatch,
                           "stock of variant \"" + item.need.variant.text + "\" is not as expected",
                           "Expected " + std::to_string(*item.expected) + ", found " +
                               std::to_string(level.on_hand) + ".");
    }
}

pg::SqlError AtItem(size_t item, const pg::SqlError &error) {
    return pg::SqlError(error.sqlstate(), ElementPath("items", item) + ": " + error.message(),
                        error.detail(), error.hint());
}

std::vector<BulkOutcome> BulkChange::Run() {
    index_ = IndexNeeds(items_);
    locks_ = StockLocks::Begin(binding_, index_.needs, budget_);
    for (size_t first = 0; first < index_.needs.size();) {
        const size_t end = EndOfPart(index_.needs, first);
        LockPart(first, end);
        for (const auto &[item, need] : part_items_) {
            Apply(item, levels_[need]);
        }
        // What is raised at the end is every shortage: the rest is looked at, and not written.
        if (policy_ == BulkPolicy::kBestEffort || !Failed()) {
            WritePart();
        }
        first = end;
    }
    if (policy_ == BulkPolicy::kAllOrNothing) {
        RaiseFailures();
    }
    return std::move(outcomes_);
}

// Do the decreases of one of these needs together take more than any of its levels has?
bool BulkChange::MayBeShort(size_t first, const std::vector<std::vector<Level>> &locked) const {
    for (size_t need = 0; need < locked.size(); need++) {
        __int128 taken = 0;
        for (size_t i = index_.begin[first + need]; i < index_.begin[first + need + 1]; i++) {
            taken -= std::min<int64>(items_[index_.items[i]].delta, 0);
        }
        const auto enough = [taken](const Level &level) {
            return level.Takeable(Floor::kPhysical) >= taken;
        };
        if (taken > 0 && std::none_of(locked[need].begin(), locked[need].end(), enough)) {
            return true;
        }
    }
    return false;
}

// Locks the rows of these needs, and gets working_, levels_ and part_items_ ready.
void BulkChange::LockPart(size_t first, size_t end) {
    const auto at = [this](size_t need) {
        return index_.needs.begin() + static_cast<ptrdiff_t>(need);
    };
    const std::vector<StockNeed> needs(at(first), at(end));
    locks_->Await(first, end, budget_);
    std::vector<std::vector<Level>> locked = LockLevels(binding_, needs, budget_);
    if (MayBeShort(first, locked) && FreeExpiredHolds(binding_, *locks_, needs, locked)) {
        locked = LockLevels(binding_, needs, budget_);
    }
    levels_.assign(needs.size(), {});
    working_.clear();
    size_t of_variant = 0;  // where the levels of the present variant begin
    for (size_t i = 0; i < needs.size(); i++) {
        if (i == 0 || needs[i].variant.text != needs[i - 1].variant.text) {
            of_variant = working_.size();
        }
        for (Level &level : locked[i]) {
            size_t place = of_variant;
            while (place < working_.size() &&
                   working_[place].change.level.location != level.location) {
                place++;
            }
            levels_[i].push_back(place);
            if (place == working_.size()) {
                WorkingLevel &working = working_.emplace_back();
                working.change.variant = needs[i].variant;
                working.change.level = std::move(level);
            }
        }
    }
    part_items_.clear();
    for (size_t need = first; need < end; need++) {
        for (size_t i = index_.begin[need]; i < index_.begin[need + 1]; i++) {
            part_items_.emplace_back(index_.items[i], need - first);
        }
    }
    std::sort(part_items_.begin(), part_items_.end());
    written_.clear();
}

void BulkChange::Apply(size_t number, const std::vector<size_t> &places) {
    const BulkItem &item = items_[number];
    BulkOutcome &outcome = outcomes_[number];
    outcome.variant_id = item.need.variant.text;
    outcome.delta = item.delta;
    std::vector<Level> current;  // with what earlier items have done
    current.reserve(places.size());
    for (const size_t place : places) {
        current.push_back(working_[place].change.level);
        current.back().on_hand += working_[place].change.delta;
    }
    try {
        const Level &level = ChooseLevel(item.need, current, item.delta, Floor::kPhysical);
        CheckExpected(item, level);
        outcome.quantity_after = AddToStock(binding_, level, item.delta);
        outcome.quantity_before = level.on_hand;
        outcome.location_id = level.location;
        const size_t place = places[static_cast<size_t>(&level - current.data())];
        working_[place].change.delta += item.delta;
        working_[place].changed = true;
        written_.emplace_back(number, place);
    } catch (const pg::SqlError &error) {
        outcome.sqlstate = unpack_sql_state(error.sqlstate());
        outcome.message = error.message();
        if (error.sqlstate() == pg::kInsufficientStock) {
            shortages_.emplace_back(number, ShortageOf(item, current));
        } else if (!first_other_ || number < first_other_->first) {
            first_other_.emplace(number, AtItem(number, error));
        }
    }
}

void BulkChange::WritePart() {
    std::vector<StockChange> changes;
    for (WorkingLevel &working : working_) {
        if (working.changed) {
            StockChange &change = working.change;
            change.grant = locks_->FenceFor(change.variant.text, change.level);
            changes.push_back(change);
        }
    }
    const auto before = [](const StockChange &a, const StockChange &b) {
        return std::tie(a.variant.text, a.level.location) <
               std::tie(b.variant.text, b.level.location);
    };
    if (!std::is_sorted(changes.begin(), changes.end(), before)) {
        std::sort(changes.begin(), changes.end(), before);
    }
    if (!changes.empty()) {
        WriteChangesOnly(binding_, changes, occasion_);
    }
    for (const auto &[item, place] : written_) {
        outcomes_[item].grant = working_[place].change.grant;
    }
}

// Every shortage, in the order of the items, or else the first other failure.
void BulkChange::RaiseFailures() {
    if (first_other_) {
        throw pg::SqlError(first_other_->second);
    }
    if (!shortages_.empty()) {
        std::sort(shortages_.begin(), shortages_.end(),
                  [](const auto &a, const auto &b) { return a.first < b.first; });
        std::vector<Shortage> shortages;
        for (auto &shortage : shortages_) {
            shortages.push_back(std::move(shortage.second));
        }
        throw InsufficientStock(shortages);
    }
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
    return BulkChange(binding, items, policy, occasion, budget).Run();
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
    std::vector<std::vector<Level>> rows = LockLevels(binding, needs, budget);
    const auto both = [&rows] {
        std::vector<Level> levels = rows[0];
        levels.insert(levels.end(), rows[1].begin(), rows[1].end());
        return levels;
    };
    std::vector<Level> levels = both();
    if (LevelAt(levels, from).Takeable(Floor::kPhysical) < transfer.quantity &&
        FreeExpiredHolds(binding, locks, needs, rows)) {
        rows = LockLevels(binding, needs, budget);
        levels = both();
    }
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
