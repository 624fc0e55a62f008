// What cancelling, fulfilling and taking back have in common: a request about units of an order,
// its answer, and the way to the stock they concern.
//
// Runs in: backends. Locks are taken in the same order as by placing: the order's key, the stock
// keys, then rows (the order's, then the stock's).

#pragma once

#include "commerce/adjustment.hpp"
#include "commerce/order_lines.hpp"

namespace inventory_lock::commerce {

struct OrderChangeRequest {
    std::string order_id;
    UnitChoice choice;
    Occasion occasion;
    bool restock = true;                  // a return that is not goes to no level
    std::optional<std::string> location;  // where the goods go; else where they came from
};

struct OrderChangeAnswer {
    Order order;  // as it is afterwards
    bool replayed = false;
    int64 units = 0;  // over all lines
    bool redis = false;
    std::vector<StockChange> changes;
    std::vector<int64> quantities;       // beside changes: units of the order that it is about
    std::vector<WrittenChange> written;  // beside changes
};

// Locks the levels that the chosen units belong to, and puts their changes into the answer. The
// order's key is locked, its lines are chosen. Throws IL002, 40001 and what locking throws.
void LockChosenLevels(Binding &binding, const OrderChangeRequest &request,
                      OrderChangeAnswer *answer, locking::WaitBudget &budget);

// An UPDATE that adds the chosen units to this column of the lines. Its parameters, from `first`
// on, are those of AddChosenLines.
std::string AddToLines(const Binding &binding, const std::string &role, size_t first);

// Three parameters: the order, and its lines that change with their units, as two arrays.
void AddChosenLines(const Order &order, Params *params);

// What an earlier call with the same request_key was about: units by variant.
using UnitsByVariant = std::map<std::string, int64>;

// Throws IL021 when this request is about other variants or quantities than that one. Of one for
// all that is left it cannot be told.
void RequireSameUnits(const OrderChangeRequest &request, const Order &order,
                      const UnitsByVariant &earlier);

// Has a call before this one done the same to some of the lines?
bool AnyLine(const Order &order, int64 OrderLine::*units);

// The answer of a call for which nothing is left to do.
OrderChangeAnswer Replayed(OrderChangeAnswer answer);

}  // namespace inventory_lock::commerce
