// Refusing what is sold out without a lock: see sold_out.hpp.

#include "commerce/sold_out.hpp"

#include "commerce/level_rows.hpp"
#include "pg/settings.hpp"
#include "shared/lease_table.hpp"
#include "shared/sold_out.hpp"

namespace inventory_lock::commerce {

namespace {

uint64 HashOf(const StockNeed &need) {
    return shared::HashKey(need.variant.text);
}

}  // namespace

std::optional<std::vector<std::vector<Level>>> PeekIfSoldOut(Binding &binding,
                                                             const std::vector<StockNeed> &needs) {
    const bool hinted = pg::settings::sold_out_check && !IsolationUsesXactSnapshot() &&
                        std::any_of(needs.begin(), needs.end(), [](const StockNeed &need) {
                            return shared::LatelySoldOut(HashOf(need));
                        });
    if (!hinted) {
        return std::nullopt;
    }
    std::vector<std::vector<Level>> levels = PeekLevels(binding, needs);
    for (const std::vector<Level> &some : levels) {
        for (const Level &level : some) {
            if (level.held != 0) {
                return std::nullopt;
            }
        }
    }
    return levels;
}

void RememberShort(const std::vector<StockNeed> &needs) {
    for (const StockNeed &need : needs) {
        shared::NoteSoldOut(HashOf(need));
    }
}

void RememberEnough(const std::vector<StockNeed> &needs) {
    for (const StockNeed &need : needs) {
        shared::NoteInStock(HashOf(need));
    }
}

}  // namespace inventory_lock::commerce
