// Products of variants, and intents on their keys: see product.hpp.

#include "commerce/product.hpp"

#include "locking/lock_name.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/pg_statistic.h>
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kRole = "product_id";
constexpr size_t kMaxRemembered = 4096;  // variants per binding and session

bool HasProducts(const Binding &binding) {
    return binding.find(TableId::kStockLevel, kRole) != nullptr;
}

Oid VariantArray(const Binding &binding) {
    const Oid type = binding.column(TableId::kStockLevel, "variant_id").type;
    return pg::Call([type] { return get_array_type(type); });
}

// Did the last ANALYZE find no row with a product? Such tables need no looks.
bool SeemUnused(const Binding &binding) {
    const Oid relation = binding.table(TableId::kStockLevel).oid;
    const AttrNumber number = binding.column(TableId::kStockLevel, kRole).number;
    return pg::Call([=] {
        const HeapTuple statistics = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relation),
                                                     Int16GetDatum(number), BoolGetDatum(false));
        if (!HeapTupleIsValid(statistics)) {
            return false;
        }
        const auto *form = reinterpret_cast<Form_pg_statistic>(GETSTRUCT(statistics));
        const bool unused = form->stanullfrac >= 1.0F;
        ReleaseSysCache(statistics);
        return unused;
    });
}

// The inner query is run once per element, as those of stock_level.cpp.
std::unique_ptr<Statement> BuildPeekProducts(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT u.n, p.product_id FROM ROWS FROM (pg_catalog.unnest($1))"
                    " WITH ORDINALITY AS u (variant_id, n) CROSS JOIN LATERAL ("
                    "SELECT s.{stock_level.product_id}::pg_catalog.text AS product_id"
                    " FROM {stock_level} s WHERE s.{stock_level.variant_id}{=}u.variant_id{live}"
                    " AND s.{stock_level.product_id} IS NOT NULL) AS p"),
        std::vector<Oid>{VariantArray(binding)});
}

void AddOnce(std::vector<std::string> *products, const std::string &product) {
    if (!product.empty() &&
        std::find(products->begin(), products->end(), product) == products->end()) {
        products->push_back(product);
    }
}

void Remember(Binding &binding, const std::string &variant, std::vector<std::string> products) {
    auto &seen = binding.seen_products();
    if (seen.size() >= kMaxRemembered) {
        seen.clear();
    }
    seen[variant] = std::move(products);
}

// Looks the products of variants up, adds them to `products` and remembers them.
void LookUp(Binding &binding, const std::vector<const StockNeed *> &needs,
            std::set<std::string> *products) {
    std::vector<std::optional<Datum>> variants;
    for (const StockNeed *need : needs) {
        variants.emplace_back(need->variant.value);
    }
    Params params;
    params.Array(variants, binding.column(TableId::kStockLevel, "variant_id").type);
    const Rows rows = binding.Plan(PlanId::kPeekProducts, BuildPeekProducts).Run(params);
    std::vector<std::vector<std::string>> found(needs.size());
    for (size_t i = 0; i < rows.size(); i++) {
        AddOnce(&found[static_cast<size_t>(rows.Int8(i, 0) - 1)], rows.Text(i, 1));
    }
    for (size_t i = 0; i < needs.size(); i++) {
        products->insert(found[i].begin(), found[i].end());
        Remember(binding, needs[i]->variant.text, std::move(found[i]));
    }
}

std::vector<locking::LockRequest> IntentsOn(const std::set<std::string> &products) {
    std::vector<locking::LockRequest> intents;
    for (const std::string &product : products) {
        std::string key = locking::ProductKeyIfAny(product);
        if (!key.empty()) {
            intents.push_back(
                {std::move(key), locking::LockKind::kInventory, 0, locking::LockMode::kIntent});
        }
    }
    return intents;
}

}  // namespace

std::vector<locking::LockRequest> ProductIntents(Binding &binding,
                                                 const std::vector<StockNeed> &needs) {
    if (!HasProducts(binding)) {
        return {};
    }
    std::set<std::string> products;
    std::vector<const StockNeed *> unknown;
    for (const StockNeed &need : needs) {
        const auto seen = binding.seen_products().find(need.variant.text);
        if (seen != binding.seen_products().end()) {
            products.insert(seen->second.begin(), seen->second.end());
        } else if (unknown.empty() || unknown.back()->variant.text != need.variant.text) {
            unknown.push_back(&need);
        }
    }
    if (!unknown.empty() && !SeemUnused(binding)) {
        LookUp(binding, unknown, &products);
    }
    return IntentsOn(products);
}

void CoverProducts(Binding &binding, const std::vector<StockNeed> &needs,
                   const std::vector<std::vector<Level>> &levels, locking::WaitBudget &budget) {
    std::set<std::string> products;
    for (size_t i = 0; i < needs.size(); i++) {
        std::vector<std::string> own;
        for (const Level &level : levels[i]) {
            AddOnce(&own, level.product);
        }
        if (!own.empty()) {
            products.insert(own.begin(), own.end());
            Remember(binding, needs[i].variant.text, std::move(own));
        }
    }
    if (!products.empty()) {
        (void)locking::AcquireLocks(IntentsOn(products), budget);
    }
}

void CoverProducts(Binding &binding, const StockNeed &need, locking::WaitBudget &budget) {
    std::set<std::string> products;
    if (HasProducts(binding) && !SeemUnused(binding)) {
        LookUp(binding, {&need}, &products);
    }
    if (!products.empty()) {
        (void)locking::AcquireLocks(IntentsOn(products), budget);
    }
}

locking::LockRequest ProductLock(const Binding &binding, const std::string &product_id) {
    const Column &column = binding.column(TableId::kStockLevel, kRole);
    return {locking::ProductKey(ParseId(column, product_id, kRole).text),
            locking::LockKind::kInventory, 0};
}

}  // namespace inventory_lock::commerce
