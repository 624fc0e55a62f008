// SQL functions over orders: they read arguments, ask commerce/ and build rows; nothing else.
//
// Runs in: backends. The shape of JSON is checked before any table is touched, privileges before
// any lock.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/cancellation.hpp"
#include "commerce/orders.hpp"
#include "commerce/returns.hpp"

namespace inventory_lock::api {

namespace {

Datum IntervalOf(const std::string &text) {
    const char *const input = text.c_str();
    try {
        return pg::Call([input] {
            return DirectFunctionCall3(interval_in, CStringGetDatum(input),
                                       ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
        });
    } catch (const pg::PgError &error) {
        if (error.edata == nullptr) {
            throw;
        }
        throw pg::SqlError(error.edata->sqlerrcode,
                           "options.wait_timeout is not an interval: \"" + text + "\"");
    }
}

locking::WaitBudget BudgetOf(const std::optional<std::string> &wait_timeout) {
    return locking::WaitBudget::From(wait_timeout ? DatumGetIntervalP(IntervalOf(*wait_timeout))
                                                  : nullptr);
}

Datum NumericOf(const std::string &text) {
    const char *const input = text.c_str();
    return pg::Call([input] {
        return DirectFunctionCall3(numeric_in, CStringGetDatum(input), ObjectIdGetDatum(InvalidOid),
                                   Int32GetDatum(-1));
    });
}

void PutOrder(FunctionCallInfo fcinfo, const commerce::OrderAnswer &answer,
              const locking::WaitBudget &budget) {
    Row row;
    row.Text(answer.order_id).Text(answer.status).Bool(answer.replayed);
    if (answer.total) {
        row.Value(NumericOf(*answer.total));
    } else {
        row.Null();
    }
    row.Value(answer.lines)
        .Int8(answer.fence)
        .Text(answer.protection)
        .Float8(budget.WaitedMs())
        .Text(answer.sqlstate)
        .Value(answer.response);
    if (answer.created_at) {
        row.Value(*answer.created_at);
    } else {
        row.Null();
    }
    Result(fcinfo).Put(row);
}

// `chosen` is what the units that this call changes are called.
std::string LinesJson(const std::vector<commerce::OrderLine> &lines, const char *chosen) {
    std::string json = "[";
    for (const commerce::OrderLine &line : lines) {
        json += json.size() > 1 ? ", " : "";
        json += "{\"line_no\": " + std::to_string(line.line_no) +
                ", \"variant_id\": " + commerce::JsonString(line.variant_id) +
                ", \"location_id\": " + commerce::JsonString(line.location_id) +
                ", \"quantity\": " + std::to_string(line.quantity) + ", \"" + std::string(chosen) +
                "\": " + std::to_string(line.chosen) +
                ", \"cancelled\": " + std::to_string(line.cancelled) +
                ", \"fulfilled\": " + std::to_string(line.fulfilled) +
                ", \"returned\": " + std::to_string(line.returned) + "}";
    }
    return json + "]";
}

// The order and its lines, which cancelling and fulfilling take alike.
commerce::OrderChangeRequest ReadOrderChange(const Arguments &arguments) {
    commerce::OrderChangeRequest request;
    request.order_id = arguments.Id(0, "order_id");
    if (!arguments.IsNull(1)) {
        request.choice.lines =
            commerce::ReadLineSelectors(commerce::ReadJson(arguments.Required(1, "lines")));
    }
    return request;
}

void PutOrderChange(FunctionCallInfo fcinfo, const commerce::OrderChangeAnswer &answer,
                    const char *chosen, const locking::WaitBudget &budget) {
    Row row;
    row.Text(answer.order.id.text)
        .Text(answer.order.status)
        .Bool(answer.replayed)
        .Int8(answer.units)
        .Value(commerce::MakeJsonb(LinesJson(answer.order.lines, chosen)))
        .Int8(static_cast<int64>(answer.order.grant.fence))
        .Text(answer.redis ? "redis" : "database")
        .Float8(budget.WaitedMs());
    Result(fcinfo).Put(row);
}

}  // namespace

IL_FUNCTION(inventory_lock_place_order) {
    const Arguments arguments(fcinfo);
    RequireWritable("place_order_locked()");
    const std::string user_id = arguments.Id(0, "user_id");
    const std::string key = arguments.Text(1, "idempotency_key");
    commerce::CheckIdempotencyKey(key);
    const commerce::Json lines = commerce::ReadJson(arguments.Required(2, "lines"));
    const Datum data = arguments.Required(3, "order_data");
    const commerce::OrderOptions options =
        commerce::ReadOrderOptions(commerce::ReadJson(arguments.Required(4, "options")));
    locking::WaitBudget budget = BudgetOf(options.wait_timeout);
    commerce::Session session;
    const auto binding = commerce::OpenForOrders(options);
    const commerce::OrderRequest request = commerce::ReadOrderRequest(
        *binding, user_id, key, lines, commerce::ReadJson(data), data, options);
    PutOrder(fcinfo, commerce::PlaceOrder(*binding, request, options, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_cancel_order) {
    const Arguments arguments(fcinfo);
    RequireWritable("cancel_order_locked()");
    commerce::OrderChangeRequest request = ReadOrderChange(arguments);
    request.occasion.kind = "cancel";
    request.occasion.reason = arguments.Text(2, "reason");
    request.occasion.reference_type = "order";
    request.occasion.request_key = arguments.OptionalKey(3);
    const std::string binding_name = arguments.Text(4, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForCancelling(binding_name);
    commerce::NormalizeIds(*binding, &request.choice.lines);
    PutOrderChange(fcinfo, commerce::CancelOrder(*binding, request, budget), "restored", budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_fulfil_order) {
    const Arguments arguments(fcinfo);
    RequireWritable("fulfil_order_locked()");
    commerce::OrderChangeRequest request = ReadOrderChange(arguments);
    const std::string binding_name = arguments.Text(2, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForFulfilling(binding_name);
    commerce::NormalizeIds(*binding, &request.choice.lines);
    PutOrderChange(fcinfo, commerce::FulfilOrder(*binding, request, budget), "shipped", budget);
    session.Finish();
    return static_cast<Datum>(0);
}

// return_order_locked(order_id, lines, restock, reason, location_id, request_key, binding)
IL_FUNCTION(inventory_lock_return_order) {
    const Arguments arguments(fcinfo);
    RequireWritable("return_order_locked()");
    commerce::OrderChangeRequest request = ReadOrderChange(arguments);
    request.restock = DatumGetBool(arguments.Required(2, "restock"));
    request.occasion.kind = "return";
    request.occasion.reason = arguments.Text(3, "reason");
    request.occasion.reference_type = "order";
    request.location = arguments.OptionalText(4);
    request.occasion.request_key = arguments.OptionalKey(5);
    const std::string binding_name = arguments.Text(6, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForReturning(binding_name);
    commerce::NormalizeIds(*binding, &request.choice.lines);
    PutOrderChange(fcinfo, commerce::ReturnOrder(*binding, request, budget), "received", budget);
    session.Finish();
    return static_cast<Datum>(0);
}

}  // namespace inventory_lock::api
