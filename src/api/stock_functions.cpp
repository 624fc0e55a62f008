// SQL functions over stock: they read arguments, ask commerce/ and build rows; nothing else.
//
// Runs in: backends. Checks that need no table come first, so that a wrong argument costs nothing;
// then privileges (OpenForStock); then locks.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/adjustment.hpp"
#include "commerce/several_levels.hpp"
#include "commerce/stock_report.hpp"

namespace inventory_lock::api {

namespace {

Row AdjustmentRow(const commerce::AdjustmentResult &result, const locking::WaitBudget &budget) {
    Row row;
    row.Text(result.movement_id)
        .Text(result.variant_id)
        .Text(result.location_id)
        .Int8(result.quantity_before)
        .Int8(result.delta)
        .Int8(result.quantity_after)
        .Int8(result.available)
        .Text(result.stock_status)
        .Int8(result.version)
        .Int8(static_cast<int64>(result.fence))
        .Text(result.protection)
        .Bool(result.replayed)
        .Float8(budget.WaitedMs());
    return row;
}

void PutAdjustment(FunctionCallInfo fcinfo, const commerce::AdjustmentResult &result,
                   const locking::WaitBudget &budget) {
    Row row = AdjustmentRow(result, budget);
    Result(fcinfo).Put(row);
}

// Arguments that explain a change: reason, location or not, reference, actor, note, request_key.
commerce::Occasion ReadOccasion(const Arguments &arguments, int reason, int reference_type) {
    commerce::Occasion occasion;
    occasion.reason = arguments.Text(reason, "reason");
    occasion.reference_type = arguments.OptionalText(reference_type);
    occasion.reference_id = arguments.OptionalText(reference_type + 1);
    occasion.actor = arguments.OptionalText(reference_type + 2);
    occasion.note = arguments.OptionalText(reference_type + 3);
    occasion.request_key = arguments.OptionalKey(reference_type + 4);
    return occasion;
}

int64 ReadQuantity(const Arguments &arguments) {
    const int64 quantity = arguments.Int8(1, "quantity");
    if (quantity <= 0) {
        throw pg::SqlError(pg::kInvalidQuantity, "argument \"quantity\" must be positive",
                           "It is " + std::to_string(quantity) + ".");
    }
    return quantity;
}

// What decrement_stock_on_purchase and increment_stock_on_cancellation have in common.
commerce::Adjustment ReadOrderChange(const Arguments &arguments) {
    commerce::Adjustment adjustment;
    adjustment.variant_id = arguments.Id(0, "variant_id");
    adjustment.delta = ReadQuantity(arguments);
    adjustment.location_id = arguments.OptionalText(3);
    adjustment.occasion.actor = arguments.OptionalText(4);
    if (const auto order_id = arguments.OptionalText(2)) {
        if (order_id->empty()) {
            throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                               "argument \"order_id\" must not be empty");
        }
        adjustment.occasion.reference_type = "order";
        adjustment.occasion.reference_id = order_id;
    }
    return adjustment;
}

// What adjust_stock_locked and set_stock_locked have in common.
commerce::Adjustment ReadAdjustment(const Arguments &arguments) {
    commerce::Adjustment adjustment;
    adjustment.variant_id = arguments.Id(0, "variant_id");
    adjustment.location_id = arguments.OptionalText(3);
    adjustment.occasion = ReadOccasion(arguments, 2, 4);
    adjustment.expected = arguments.OptionalInt8(9);
    return adjustment;
}

Datum Adjust(FunctionCallInfo fcinfo, const commerce::Adjustment &adjustment) {
    const Arguments arguments(fcinfo);
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(10));
    const std::string binding_name = arguments.Text(11, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForStock(binding_name);
    PutAdjustment(fcinfo, commerce::AdjustStock(*binding, adjustment, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

void PutOutcome(int64 item, const commerce::BulkOutcome &outcome, Result *result) {
    Row row;
    row.Int8(item)
        .Text(outcome.variant_id)
        .Text(outcome.location_id)
        .Int8(outcome.delta)
        .Int8(outcome.quantity_before)
        .Int8(outcome.quantity_after);
    if (outcome.grant) {
        row.Int8(static_cast<int64>(outcome.grant->fence))
            .Text(commerce::ProtectionName(*outcome.grant));
    } else {
        row.Null().Null();
    }
    row.Text(outcome.sqlstate).Text(outcome.message);
    result->Put(row);
}

constexpr int kOrderChangeWait = 5;
constexpr int kOrderChangeBinding = 6;

}  // namespace

IL_FUNCTION(inventory_lock_adjust_stock) {
    RequireWritable("adjust_stock_locked()");
    const Arguments arguments(fcinfo);
    commerce::Adjustment adjustment = ReadAdjustment(arguments);
    adjustment.delta = arguments.Int8(1, "delta");
    return Adjust(fcinfo, adjustment);
}

IL_FUNCTION(inventory_lock_set_stock) {
    RequireWritable("set_stock_locked()");
    const Arguments arguments(fcinfo);
    commerce::Adjustment adjustment = ReadAdjustment(arguments);
    adjustment.counted = arguments.Int8(1, "counted");
    adjustment.occasion.kind = "count";
    return Adjust(fcinfo, adjustment);
}

IL_FUNCTION(inventory_lock_transfer_stock) {
    RequireWritable("transfer_stock_locked()");
    const Arguments arguments(fcinfo);
    commerce::Transfer transfer;
    transfer.variant_id = arguments.Id(0, "variant_id");
    transfer.quantity = ReadQuantity(arguments);
    transfer.from_location = arguments.Text(2, "from_location");
    transfer.to_location = arguments.Text(3, "to_location");
    transfer.occasion = ReadOccasion(arguments, 4, 5);
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(10));
    const std::string binding_name = arguments.Text(11, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForStock(binding_name);
    const auto results = commerce::TransferStock(*binding, transfer, budget);
    Result result(fcinfo);
    for (const commerce::AdjustmentResult &half : results) {
        Row row = AdjustmentRow(half, budget);
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_adjust_stock_bulk) {
    RequireWritable("adjust_stock_bulk_locked()");
    const Arguments arguments(fcinfo);
    const commerce::Json items = commerce::ReadJson(arguments.Required(0, "items"));
    const std::string policy = arguments.Text(1, "policy");
    if (policy != "all_or_nothing" && policy != "best_effort") {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "argument \"policy\" must be \"all_or_nothing\" or \"best_effort\"");
    }
    commerce::Occasion occasion;
    occasion.reason = arguments.Text(2, "reason");
    occasion.reference_type = arguments.OptionalText(3);
    occasion.reference_id = arguments.OptionalText(4);
    occasion.actor = arguments.OptionalText(5);
    occasion.note = arguments.OptionalText(6);
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(7));
    const std::string binding_name = arguments.Text(8, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForStock(binding_name);
    const auto outcomes =
        commerce::AdjustBulk(*binding, commerce::ReadBulkItems(*binding, items),
                             policy == "best_effort" ? commerce::BulkPolicy::kBestEffort
                                                     : commerce::BulkPolicy::kAllOrNothing,
                             occasion, budget);
    Result result(fcinfo);
    for (size_t i = 0; i < outcomes.size(); i++) {
        PutOutcome(static_cast<int64>(i), outcomes[i], &result);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_decrement_on_purchase) {
    const Arguments arguments(fcinfo);
    RequireWritable("decrement_stock_on_purchase()");
    commerce::Adjustment adjustment = ReadOrderChange(arguments);
    adjustment.delta = -adjustment.delta;
    adjustment.floor = commerce::Floor::kSale;
    adjustment.occasion.kind = "sale";
    adjustment.occasion.reason = "sale";
    locking::WaitBudget budget =
        locking::WaitBudget::From(arguments.OptionalInterval(kOrderChangeWait));
    const std::string binding_name = arguments.Text(kOrderChangeBinding, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForStock(binding_name);
    PutAdjustment(fcinfo, commerce::AdjustStock(*binding, adjustment, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_increment_on_cancellation) {
    const Arguments arguments(fcinfo);
    RequireWritable("increment_stock_on_cancellation()");
    commerce::Adjustment adjustment = ReadOrderChange(arguments);
    adjustment.occasion.kind = "cancel";
    adjustment.occasion.reason = "cancel";
    locking::WaitBudget budget =
        locking::WaitBudget::From(arguments.OptionalInterval(kOrderChangeWait));
    const std::string binding_name = arguments.Text(kOrderChangeBinding, "binding");
    const auto order_id = adjustment.occasion.reference_id;
    commerce::Session session;
    const auto binding =
        order_id ? commerce::OpenForTakingBack(binding_name) : commerce::OpenForStock(binding_name);
    PutAdjustment(fcinfo,
                  order_id ? commerce::TakeBack(*binding, adjustment, *order_id, budget)
                           : commerce::AdjustStock(*binding, adjustment, budget),
                  budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_stock) {
    const Arguments arguments(fcinfo);
    const std::string variant_id = arguments.Id(0, "variant_id");
    const auto location_id = arguments.OptionalText(1);
    const std::string binding_name = arguments.Text(2, "binding");
    commerce::Session session;
    const auto binding =
        commerce::OpenBinding(binding_name, {{commerce::TableId::kStockLevel, ACL_SELECT}});
    Result result(fcinfo);
    for (const commerce::StockRow &stock : commerce::ReadStock(*binding, variant_id, location_id)) {
        Row row;
        row.Text(stock.variant_id)
            .Text(stock.level.location)
            .Int8(stock.level.on_hand)
            .Int8(stock.level.held)
            .Int8(stock.level.safety_stock)
            .Int8(stock.level.Available())
            .Text(stock.level.Status())
            .Int8(stock.level.version)
            .Int8(static_cast<int64>(stock.level.fence));
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_verify_stock) {
    const Arguments arguments(fcinfo);
    const auto variant_id = arguments.OptionalText(0);
    const std::string binding_name = arguments.Text(1, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenBinding(
        binding_name,
        {{commerce::TableId::kStockLevel, ACL_SELECT}, {commerce::TableId::kMovement, ACL_SELECT}});
    Result result(fcinfo);
    for (const commerce::LedgerRow &ledger : commerce::VerifyStock(*binding, variant_id)) {
        Row row;
        row.Text(ledger.variant_id)
            .Text(ledger.location_id)
            .Int8(ledger.level)
            .Int8(ledger.ledger)
            .Int8(ledger.drift);
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

}  // namespace inventory_lock::api
