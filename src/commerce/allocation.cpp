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

std::vector<Level> OwnFirst(const StockNeed &need, std::vector<Level> levels, const OwnHolds &own) {
    std::stable_partition(levels.begin(), levels.end(),
                          [&](const Level &level) { return OwnUnits(need, level, own) > 0; });
    return levels;
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
                    Shortfall shortfall) {
    Allocation allocation;
    bool any_served = false;
    // What has been taken from each level so far: variant and location → place in changes.
    std::map<std::pair<std::string, std::string>, size_t> taken;
    for (size_t i = 0; i < demands.size(); i++) {
        const Demand &demand = demands[i];
        allocation.locations.emplace_back();
        allocation.served.push_back(0);
        if (levels[i].empty()) {
            allocation.missing.push_back(demand.need);
            continue;
        }
        std::optional<Level> chosen;
        std::optional<Level> fullest;
        int64 most = 0;
        const std::vector<Level> candidates = OwnFirst(demand.need, levels[i], own);
        for (const Level &level : candidates) {
            const auto earlier = taken.find({demand.need.variant.text, level.location});
            const int64 gone =
                earlier == taken.end() ? 0 : -allocation.changes[earlier->second].delta;
            const int64 left =
                level.Takeable(Floor::kSale) + OwnUnits(demand.need, level, own) - gone;
            if (left >= demand.quantity) {
                chosen = level;
                break;
            }
            if (left > most) {
                most = left;
                fullest = level;
            }
        }
        if (!chosen) {
            allocation.short_of_stock = true;
            allocation.shortages.push_back({demand.need, demand.quantity, most});
            if (shortfall == Shortfall::kServeNothing || !fullest) {
                continue;
            }
        }
        const int64 served = chosen ? demand.quantity : most;
        chosen = chosen ? chosen : fullest;
        allocation.served.back() = served;
        any_served = true;
        allocation.locations.back() = chosen->location;
        const auto [place, is_new] = taken.try_emplace({demand.need.variant.text, chosen->location},
                                                       allocation.changes.size());
        if (is_new) {
            StockChange change;
            change.variant = demand.need.variant;
            change.level = *chosen;
            allocation.changes.push_back(change);
        }
        allocation.changes[place->second].delta -= served;
    }
    if (shortfall == Shortfall::kServePart && any_served) {
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
