// Allocates stock to the lines of an order: see allocation.hpp.

#include "commerce/allocation.hpp"

namespace inventory_lock::commerce {

namespace {

bool SameNeed(const StockNeed &a, const StockNeed &b) {
    return !(a < b) && !(b < a);
}

int64 OwnUnits(const StockNeed &need, const Level &level, const OwnHolds &own) {
    const auto found = own.find({need.variant.text, level.location});
    return found == own.end() ? 0 : found->second;
}

// What has been taken from each level so far: variant and location → place in changes.
using ChangeIndex = std::map<std::pair<std::string, std::string>, size_t>;

// A level that may serve a demand, and how much of it may be taken: 0 when nothing.
struct Candidate {
    const Level *level = nullptr;
    int64 left = 0;
    bool own = false;  // some of it is held for the order itself
};

// In the order in which they are asked.
std::vector<Candidate> CandidatesFor(const Demand &demand, const std::vector<Level> &levels,
                                     const OwnHolds &own, const AllocationRules &rules,
                                     const Allocation &allocation, const ChangeIndex &index) {
    std::vector<const Level *> allowed;
    if (demand.need.location || rules.locations.empty()) {
        for (const Level &level : levels) {
            allowed.push_back(&level);
        }
    } else {
        for (const std::string &location : rules.locations) {
            for (const Level &level : levels) {
                if (level.location == location) {
                    allowed.push_back(&level);
                }
            }
        }
    }
    std::stable_partition(allowed.begin(), allowed.end(), [&](const Level *level) {
        return OwnUnits(demand.need, *level, own) > 0;
    });
    std::vector<Candidate> candidates;
    for (const Level *const level : allowed) {
        const auto earlier = index.find({demand.need.variant.text, level->location});
        const int64 gone = earlier == index.end() ? 0 : -allocation.changes[earlier->second].delta;
        const int64 own_units = OwnUnits(demand.need, *level, own);
        const __int128 left =
            static_cast<__int128>(level->Takeable(Floor::kSale)) + own_units - gone;
        const __int128 most = std::numeric_limits<int64>::max();
        candidates.push_back(
            {level, static_cast<int64>(std::clamp<__int128>(left, 0, most)), own_units > 0});
    }
    return candidates;
}

// Who serves a demand: the first that has it all; else, when it may be split, all of them, those
// with the order's own units first, then the fullest, unless the caller gave an order; else the
// fullest alone.
std::vector<const Candidate *> Choose(int64 quantity, const std::vector<Candidate> &candidates,
                                      const AllocationRules &rules) {
    std::vector<const Candidate *> all;
    for (const Candidate &candidate : candidates) {
        if (candidate.left >= quantity) {
            return {&candidate};
        }
        all.push_back(&candidate);
    }
    const bool split = rules.spread == Spread::kSplit;
    if (split && !rules.locations.empty()) {
        return all;
    }
    std::stable_sort(all.begin(), all.end(), [split](const Candidate *a, const Candidate *b) {
        return split && a->own != b->own ? a->own : a->left > b->left;
    });
    if (!split && !all.empty()) {
        return {all.front()};
    }
    return all;
}

int64 AddUpTo(int64 a, int64 b) {
    int64 sum;
    return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64>::max() : sum;
}

void Take(const StockNeed &need, const Level &level, int64 quantity, Allocation *allocation,
          ChangeIndex *index) {
    allocation->parts.back().push_back({level.location, quantity});
    const auto [place, is_new] =
        index->try_emplace({need.variant.text, level.location}, allocation->changes.size());
    if (is_new) {
        StockChange change;
        change.variant = need.variant;
        change.level = level;
        allocation->changes.push_back(change);
    }
    allocation->changes[place->second].delta -= quantity;
}

pg::SqlError NotFound(const std::vector<StockNeed> &missing) {
    std::string detail = "[";
    for (const StockNeed &need : missing) {
        detail += detail.size() > 1 ? ", " : "";
        detail += "{\"variant_id\": " + JsonString(need.variant.text) + ", \"location_id\": " +
                  (need.location ? JsonString(need.location->text) : "null") + "}";
    }
    const std::string message =
        missing.size() == 1 ? StockItemNotFound(missing[0]).message()
                            : std::to_string(missing.size()) + " variants have no stock level";
    return pg::SqlError(pg::kStockItemNotFound, message, detail + "]");
}

}  // namespace

std::vector<Demand> SumDemands(const std::vector<RequestLine> &lines) {
    std::vector<Demand> demands;
    for (const RequestLine &line : lines) {
        if (demands.empty() || !SameNeed(demands.back().need, line.need)) {
            demands.push_back({line.need, line.quantity});
        } else if (__builtin_add_overflow(demands.back().quantity, line.quantity,
                                          &demands.back().quantity)) {
            throw pg::SqlError(pg::kInvalidQuantity,
                               "quantity out of range: the lines of variant \"" +
                                   line.need.variant.text + "\" add up to too much");
        }
    }
    return demands;
}

std::vector<StockNeed> NeedsOf(const std::vector<Demand> &demands) {
    std::vector<StockNeed> needs;
    for (const Demand &demand : demands) {
        needs.push_back(demand.need);
    }
    return needs;
}

Allocation Allocate(const std::vector<Demand> &demands,
                    const std::vector<std::vector<Level>> &levels, const OwnHolds &own,
                    const AllocationRules &rules) {
    Allocation allocation;
    bool any_served = false;
    ChangeIndex index;
    for (size_t i = 0; i < demands.size(); i++) {
        const Demand &demand = demands[i];
        allocation.parts.emplace_back();
        if (levels[i].empty()) {
            allocation.missing.push_back(demand.need);
            continue;
        }
        const std::vector<Candidate> candidates =
            CandidatesFor(demand, levels[i], own, rules, allocation, index);
        std::vector<const Candidate *> chosen = Choose(demand.quantity, candidates, rules);
        int64 left = 0;
        for (const Candidate *const candidate : chosen) {
            left = AddUpTo(left, candidate->left);
        }
        if (left < demand.quantity) {
            allocation.short_of_stock = true;
            allocation.shortages.push_back({demand.need, demand.quantity, left});
            if (rules.shortfall == Shortfall::kServeNothing) {
                continue;
            }
        }
        int64 wanted = demand.quantity;
        for (const Candidate *const candidate : chosen) {
            const int64 taken = std::min(wanted, candidate->left);
            if (taken > 0) {
                Take(demand.need, *candidate->level, taken, &allocation, &index);
                wanted -= taken;
                any_served = true;
            }
        }
    }
    if (rules.shortfall == Shortfall::kServePart && any_served) {
        allocation.shortages.clear();
    }
    return allocation;
}

std::optional<pg::SqlError> FailureOf(const Allocation &allocation) {
    if (!allocation.missing.empty()) {
        return NotFound(allocation.missing);
    }
    if (!allocation.shortages.empty()) {
        return InsufficientStock(allocation.shortages);
    }
    return std::nullopt;
}

}  // namespace inventory_lock::commerce
