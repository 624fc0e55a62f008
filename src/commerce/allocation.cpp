// Allocates stock to the lines of an order: see allocation.hpp.

#include "commerce/allocation.hpp"

namespace inventory_lock::commerce {

namespace {

bool SameNeed(const StockNeed &a, const StockNeed &b) {
    return !(a < b) && !(b < a);
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
                    const std::vector<std::vector<Level>> &levels) {
    Allocation allocation;
    // What has been taken from each level so far: variant and location → place in changes.
    std::map<std::pair<std::string, std::string>, size_t> taken;
    for (size_t i = 0; i < demands.size(); i++) {
        const Demand &demand = demands[i];
        allocation.locations.emplace_back();
        if (levels[i].empty()) {
            allocation.missing.push_back(demand.need);
            continue;
        }
        const Level *chosen = nullptr;
        int64 most = 0;
        for (const Level &level : levels[i]) {
            const auto earlier = taken.find({demand.need.variant.text, level.location});
            const int64 gone =
                earlier == taken.end() ? 0 : -allocation.changes[earlier->second].delta;
            const int64 left = level.Takeable(Floor::kSale) - gone;
            if (left >= demand.quantity) {
                chosen = &level;
                break;
            }
            most = std::max(most, left);
        }
        if (chosen == nullptr) {
            allocation.shortages.push_back({demand.need, demand.quantity, most});
            continue;
        }
        allocation.locations.back() = chosen->location;
        const auto [place, is_new] = taken.try_emplace({demand.need.variant.text, chosen->location},
                                                       allocation.changes.size());
        if (is_new) {
            StockChange change;
            change.variant = demand.need.variant;
            change.level = *chosen;
            allocation.changes.push_back(change);
        }
        allocation.changes[place->second].delta -= demand.quantity;
    }
    return allocation;
}

}  // namespace inventory_lock::commerce
