// Counts what a customer has bought: see purchase_limit.hpp. Runs in: backends.

#include "commerce/purchase_limit.hpp"

#include "commerce/json.hpp"
#include "locking/lock_name.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

std::unique_ptr<Statement> BuildCountBought(const Binding &binding) {
    const Oid variant_type = binding.column(TableId::kOrderLine, "variant_id").type;
    const Oid variants = pg::Call([variant_type] { return get_array_type(variant_type); });
    return std::make_unique<Statement>(
        binding.Sql("SELECT (l.{order_line.variant_id})::pg_catalog.text, pg_catalog.sum("
                    "l.{order_line.quantity}{-}l.{order_line.cancelled})::pg_catalog.int8"
                    " FROM {orders} s JOIN {order_line} l"
                    " ON l.{order_line.order_id}{=}s.{orders.order_id}"
                    " WHERE s.{orders.user_id}{=}$1"
                    " AND l.{order_line.variant_id}{=}ANY($2) GROUP BY 1"),
        std::vector<Oid>{binding.column(TableId::kOrders, "user_id").type, variants});
}

// By variant, in the order of the demands: what the order asks for, over all locations.
std::vector<std::pair<Id, int64>> AskedFor(const std::vector<Demand> &demands) {
    std::vector<std::pair<Id, int64>> asked;
    for (const Demand &demand : demands) {
        const auto same = std::find_if(asked.begin(), asked.end(), [&](const auto &other) {
            return other.first.text == demand.need.variant.text;
        });
        if (same == asked.end()) {
            asked.emplace_back(demand.need.variant, demand.quantity);
        } else if (__builtin_add_overflow(same->second, demand.quantity, &same->second)) {
            same->second = std::numeric_limits<int64>::max();
        }
    }
    return asked;
}

}  // namespace

locking::LockRequest PurchaseLimitLock(const std::string &user_id) {
    return {locking::CustomKey("purchase_limit_" + user_id), locking::LockKind::kCustom, 0};
}

std::optional<pg::SqlError> OverPurchaseLimit(Binding &binding, const Id &user,
                                              const std::vector<Demand> &demands, int64 limit) {
    const std::vector<std::pair<Id, int64>> asked = AskedFor(demands);
    const Column &column = binding.column(TableId::kOrderLine, "variant_id");
    std::vector<std::optional<Datum>> variants;
    for (const auto &[variant, quantity] : asked) {
        variants.emplace_back(ParseId(column, variant.text, "variant_id").value);
    }
    Params params;
    params.Value(user.value).Array(variants, column.type);
    const Rows rows = binding.Plan(PlanId::kCountBought, BuildCountBought).RunOnLatest(params);
    std::map<std::string, int64> bought;
    for (size_t i = 0; i < rows.size(); i++) {
        bought[rows.Text(i, 0)] = rows.Int8(i, 1);
    }
    std::string over;
    std::string first;
    for (const auto &[variant, quantity] : asked) {
        const int64 before = bought[variant.text];
        if (before <= limit && quantity <= limit - before) {
            continue;
        }
        first = over.empty() ? variant.text : first;
        over += (over.empty() ? "{" : ", {") + std::string("\"variant_id\": ") +
                JsonString(variant.text) + ", \"requested\": " + std::to_string(quantity) +
                ", \"bought\": " + std::to_string(before) +
                ", \"limit\": " + std::to_string(limit) + "}";
    }
    if (over.empty()) {
        return std::nullopt;
    }
    return pg::SqlError(pg::kPurchaseLimitExceeded,
                        "purchase limit exceeded for variant \"" + first + "\"", "[" + over + "]");
}

}  // namespace inventory_lock::commerce
