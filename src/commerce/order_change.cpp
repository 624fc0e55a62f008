// Ways that changes of orders have in common: see order_change.hpp. Runs in: backends.

#include "commerce/order_change.hpp"

#include "commerce/level_rows.hpp"

namespace inventory_lock::commerce {

namespace {

// The units that come back, by level, in the order of locking.
std::vector<std::pair<StockNeed, int64>> RestoresByLevel(const Binding &binding,
                                                         const OrderChangeRequest &request,
                                                         const std::vector<OrderLine> &lines) {
    std::map<std::pair<std::string, std::string>, int64> sums;
    for (const OrderLine &line : lines) {
        if (line.chosen > 0) {
            sums[{line.variant_id, request.location.value_or(line.location_id)}] += line.chosen;
        }
    }
    std::vector<std::pair<StockNeed, int64>> restores;
    for (const auto &[level, quantity] : sums) {
        restores.emplace_back(MakeNeed(binding, level.first, level.second), quantity);
    }
    std::sort(restores.begin(), restores.end(),
              [](const auto &a, const auto &b) { return a.first < b.first; });
    return restores;
}

}  // namespace

void LockChosenLevels(Binding &binding, const OrderChangeRequest &request,
                      OrderChangeAnswer *answer, locking::WaitBudget &budget) {
    const auto restores = RestoresByLevel(binding, request, answer->order.lines);
    std::vector<StockNeed> needs;
    for (const auto &restore : restores) {
        needs.push_back(restore.first);
    }
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    LockOrderRows(binding, answer->order, budget);
    const std::vector<std::vector<Level>> levels = LockLevels(binding, needs, budget);
    for (size_t i = 0; i < needs.size(); i++) {
        if (levels[i].empty()) {
            throw StockItemNotFound(needs[i]);
        }
        StockChange change;
        change.variant = needs[i].variant;
        change.level = levels[i][0];
        change.delta = request.restock ? restores[i].second : 0;
        AddToStock(binding, change.level, change.delta);
        change.grant = locks.FenceFor(change.variant.text, change.level);
        answer->redis = answer->redis && change.grant.redis;
        answer->changes.push_back(change);
        answer->quantities.push_back(restores[i].second);
    }
}

std::string AddToLines(const Binding &binding, const std::string &role, size_t first) {
    const std::string column = "{order_line." + role + "}";
    return binding.Sql("UPDATE {order_line} s SET " + column + " = s." + column + "{+}u.given") +
           OfLines(binding, TableId::kOrderLine, "order_id", first);
}

void AddChosenLines(const Order &order, Params *params) {
    std::vector<int64> line_numbers;
    std::vector<int64> quantities;
    for (const OrderLine &line : order.lines) {
        if (line.chosen > 0) {
            line_numbers.push_back(line.line_no);
            quantities.push_back(line.chosen);
        }
    }
    params->Value(order.id.value).Int8Array(line_numbers).Int8Array(quantities);
}

void RequireSameUnits(const OrderChangeRequest &request, const Order &order,
                      const UnitsByVariant &earlier) {
    if (!request.choice.lines) {
        return;
    }
    std::map<std::string, std::optional<__int128>> wanted;  // nullopt: all that was left
    for (const LineSelector &selector : *request.choice.lines) {
        const auto line = std::find_if(
            order.lines.begin(), order.lines.end(),
            [&selector](const auto &candidate) { return selector.line_no == candidate.line_no; });
        const std::string variant =
            line != order.lines.end() ? line->variant_id : selector.variant_id.value_or("");
        const auto sum = wanted.try_emplace(variant, 0).first;
        if (selector.quantity && sum->second) {
            *sum->second += *selector.quantity;
        } else {
            sum->second.reset();
        }
    }
    bool same = true;
    for (const auto &[variant, units] : earlier) {
        same = same && wanted.count(variant) != 0;
    }
    for (const auto &[variant, units] : wanted) {
        const auto found = earlier.find(variant);
        same = same && (!units || (found != earlier.end() && *units == found->second));
    }
    if (!same) {
        throw pg::SqlError(pg::kIdempotencyKeyReused,
                           "request_key \"" + *request.occasion.request_key +
                               "\" has been used by another request",
                           "lines differs.");
    }
}

bool AnyLine(const Order &order, int64 OrderLine::*units) {
    return std::any_of(order.lines.begin(), order.lines.end(),
                       [units](const OrderLine &line) { return line.*units > 0; });
}

OrderChangeAnswer Replayed(OrderChangeAnswer answer) {
    answer.replayed = true;
    FlushBehindFirstWriter();
    return answer;
}

}  // namespace inventory_lock::commerce
