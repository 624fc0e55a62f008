// Compares two requests for an error message: see order_difference.hpp.

#include "commerce/order_difference.hpp"

namespace inventory_lock::commerce {

namespace {

// A variant over all lines that have it.
struct Wanted {
    __int128 quantity = 0;
    std::set<std::string> prices;
};

using WantedByVariant = std::map<std::string, Wanted>;

WantedByVariant WantedIn(const OrderRequest &request) {
    WantedByVariant wanted;
    for (const RequestLine &line : request.lines) {
        Wanted &entry = wanted[line.need.variant.text];
        entry.quantity += line.quantity;
        entry.prices.insert(line.price_normal.value_or("none"));
    }
    return wanted;
}

// The lines of an answer, and those that a partial order could not get.
WantedByVariant WantedIn(const Json &response) {
    WantedByVariant wanted;
    for (const char *const name : {"lines", "unserved"}) {
        const Json *const lines = response.Find(name);
        for (size_t i = 0; lines != nullptr && i < lines->items.size(); i++) {
            const Json *const variant = lines->items[i].Find("variant_id");
            const Json *const quantity = lines->items[i].Find("quantity");
            const Json *const price = lines->items[i].Find("unit_price");
            if (variant != nullptr && quantity != nullptr) {
                Wanted &entry = wanted[variant->text];
                entry.quantity += std::stoll(quantity->normal);
                entry.prices.insert(price != nullptr ? price->normal : "none");
            }
        }
    }
    return wanted;
}

void CompareLines(const WantedByVariant &now, const WantedByVariant &before, std::string *text) {
    for (const auto &[variant, wanted] : now) {
        const std::string name = "variant \"" + variant + "\"";
        const auto earlier = before.find(variant);
        if (earlier == before.end()) {
            *text += " lines: " + name + " was not in it.";
        } else if (earlier->second.quantity != wanted.quantity) {
            *text += " lines: quantity of " + name + " is " +
                     std::to_string(static_cast<int64>(wanted.quantity)) + " and was " +
                     std::to_string(static_cast<int64>(earlier->second.quantity)) + ".";
        } else if (earlier->second.prices != wanted.prices) {
            *text += " lines: unit_price of " + name + " differs.";
        }
    }
    for (const auto &entry : before) {
        if (now.count(entry.first) == 0) {
            *text += " lines: variant \"" + entry.first + "\" is missing.";
        }
    }
}

}  // namespace

std::string DescribeDifference(const OrderRequest &request, const Json &stored_response,
                               const Json &stored_data) {
    std::string text;
    CompareLines(WantedIn(request), WantedIn(stored_response), &text);
    if (stored_data.Canonical() != request.data_canonical) {
        text += " order_data differs.";
    }
    if (text.empty()) {
        text = " lines: location_id differs, or how lines of one variant are split, or an option.";
    }
    return text.substr(1);
}

}  // namespace inventory_lock::commerce
