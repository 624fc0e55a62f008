// SQL functions over reservations: they read arguments, ask commerce/ and build rows; nothing else.
//
// Runs in: backends.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/json.hpp"
#include "commerce/reservations.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::api {

namespace {

// A hold must last: a month counts 30 days here, as in comparisons of intervals.
const Interval *ReadTtl(const Arguments &arguments, int number) {
    const Interval *const ttl = DatumGetIntervalP(arguments.Required(number, "ttl"));
    const bool positive = pg::Call([ttl] {
        Interval zero = {};
        return DatumGetBool(
            DirectFunctionCall2(interval_gt, IntervalPGetDatum(ttl), IntervalPGetDatum(&zero)));
    });
    if (!positive) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "argument \"ttl\" must be positive");
    }
    return ttl;
}

void CheckHolder(const std::string &holder) {
    if (holder.empty()) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "argument \"holder\" must not be empty");
    }
}

std::string LinesJson(const commerce::Hold &hold) {
    std::string json = "[";
    for (const commerce::HoldLine &line : hold.lines) {
        json += json.size() > 1 ? ", " : "";
        json += "{\"line_no\": " + std::to_string(line.line_no) +
                ", \"variant_id\": " + commerce::JsonString(line.variant_id) +
                ", \"location_id\": " + commerce::JsonString(line.location_id) +
                ", \"quantity\": " + std::to_string(line.quantity) +
                ", \"confirmed\": " + std::to_string(line.confirmed) + "}";
    }
    return json + "]";
}

void PutReservation(FunctionCallInfo fcinfo, const commerce::ReservationAnswer &answer,
                    const locking::WaitBudget &budget) {
    Row row;
    row.Text(answer.hold.id.text).Text(answer.hold.holder).Text(answer.state);
    if (answer.hold.expires_at) {
        row.Value(*answer.hold.expires_at);
    } else {
        row.Null();
    }
    row.Value(commerce::MakeJsonb(LinesJson(answer.hold)))
        .Text(answer.redis ? "redis" : "database")
        .Float8(budget.WaitedMs());
    Result(fcinfo).Put(row);
}

}  // namespace

IL_FUNCTION(inventory_lock_reserve_stock) {
    RequireWritable("reserve_stock_locked()");
    const Arguments arguments(fcinfo);
    commerce::ReservationRequest request;
    request.holder = arguments.Text(0, "holder");
    CheckHolder(request.holder);
    const commerce::Json lines = commerce::ReadJson(arguments.Required(1, "lines"));
    request.ttl = ReadTtl(arguments, 2);
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(3));
    const std::string binding_name = arguments.Text(4, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForReservations(binding_name);
    request.lines = commerce::ReadRequestLines(*binding, lines);
    PutReservation(fcinfo, commerce::Reserve(*binding, request, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_confirm_reservation) {
    RequireWritable("confirm_reservation()");
    const Arguments arguments(fcinfo);
    const std::string id = arguments.Text(0, "reservation_id");
    std::optional<std::vector<commerce::LineSelector>> selectors;
    if (!arguments.IsNull(1)) {
        selectors = commerce::ReadLineSelectors(commerce::ReadJson(arguments.Required(1, "lines")));
    }
    const auto order_id = arguments.OptionalText(2);
    const std::string binding_name = arguments.Text(3, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForReservations(binding_name);
    commerce::NormalizeIds(*binding, &selectors);
    PutReservation(fcinfo, commerce::Confirm(*binding, id, selectors, order_id, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_release_reservation) {
    RequireWritable("release_reservation()");
    const Arguments arguments(fcinfo);
    const std::string id = arguments.Text(0, "reservation_id");
    const std::string binding_name = arguments.Text(1, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForReservations(binding_name);
    PutReservation(fcinfo, commerce::Release(*binding, id, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

IL_FUNCTION(inventory_lock_extend_reservation) {
    RequireWritable("extend_reservation()");
    const Arguments arguments(fcinfo);
    const std::string id = arguments.Text(0, "reservation_id");
    const Interval *const ttl = ReadTtl(arguments, 1);
    const std::string binding_name = arguments.Text(2, "binding");
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    commerce::Session session;
    const auto binding = commerce::OpenForReservations(binding_name);
    PutReservation(fcinfo, commerce::Extend(*binding, id, ttl, budget), budget);
    session.Finish();
    return static_cast<Datum>(0);
}

}  // namespace inventory_lock::api
