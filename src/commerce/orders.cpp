// Places orders: see orders.hpp for the steps.

#include "commerce/orders.hpp"

#include "commerce/allocation.hpp"
#include "commerce/order_difference.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::commerce {

namespace {

Id UserId(const Binding &binding, const OrderRequest &request) {
    return ParseId(binding.column(TableId::kOrders, "user_id"), request.user_id, "user_id");
}

std::unique_ptr<Statement> BuildReadOrder(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{orders.order_id})::pg_catalog.text,"
                    " (s.{orders.request_fingerprint})::pg_catalog.text, s.{orders.response},"
                    " s.{orders.data}, {s:orders.created_at|NULL}::pg_catalog.timestamptz"
                    " FROM {orders} s WHERE s.{orders.user_id}{=}$1"
                    " AND s.{orders.idempotency_key}{=}$2 FOR KEY SHARE"),
        std::vector<Oid>{binding.column(TableId::kOrders, "user_id").type, TEXTOID});
}

std::optional<std::string> TextOf(const Json &object, const char *name) {
    const Json *const member = object.Find(name);
    return member != nullptr ? std::optional<std::string>(member->text) : std::nullopt;
}

// An answer from its stored form.
OrderAnswer FromResponse(const std::string &order_id, const Json &stored) {
    OrderAnswer answer;
    answer.order_id = order_id;
    answer.status = TextOf(stored, "status").value_or("");
    answer.total = TextOf(stored, "total");
    const Json *const lines = stored.Find("lines");
    answer.lines = lines != nullptr ? lines->Text() : "[]";
    if (const auto fence = TextOf(stored, "fence")) {
        answer.fence = std::stoll(*fence);
    }
    answer.protection = TextOf(stored, "protection").value_or("");
    answer.sqlstate = TextOf(stored, "sqlstate");
    const std::string text = stored.Text();
    // The id is not in the stored form: the row gets it only when it is written.
    answer.response = "{\"order_id\":" + JsonString(order_id) + "," + text.substr(1);
    return answer;
}

std::optional<OrderAnswer> Replay(Binding &binding, const OrderRequest &request, const Id &user) {
    Params params;
    params.Value(user.value).Text(request.idempotency_key);
    const Rows rows = binding.Plan(PlanId::kReadOrder, BuildReadOrder).Run(params);
    if (rows.empty()) {
        return std::nullopt;
    }
    bool is_null;
    const Json stored = ReadJson(rows.Value(0, 2, &is_null));
    if (rows.Text(0, 1) != request.fingerprint) {
        const Json data = ReadJson(rows.Value(0, 3, &is_null));
        throw pg::SqlError(
            pg::kIdempotencyKeyReused,
            "idempotency_key \"" + request.idempotency_key + "\" has been used by another request",
            DescribeDifference(request, stored, data), "Use a new key for a new order.");
    }
    OrderAnswer answer = FromResponse(rows.Text(0, 0), stored);
    answer.replayed = true;
    const Datum created_at = rows.Value(0, 4, &is_null);
    if (!is_null) {
        answer.created_at = created_at;
    }
    return answer;
}

std::unique_ptr<Statement> BuildWriteOrder(const Binding &binding) {
    const auto type_of = [&binding](TableId table, const char *role) {
        const Column *const column = binding.find(table, role);
        return column != nullptr ? column->type : TEXTOID;
    };
    const auto array_of = [](Oid type) {
        return pg::Call([type] { return get_array_type(type); });
    };
    const Column *const created_at = binding.find(TableId::kOrders, "created_at");
    const std::string order = InsertSelect(binding, TableId::kOrders,
                                           {{"user_id", "$11"},
                                            {"idempotency_key", "$12"},
                                            {"status", "$13"},
                                            {"total", "$14::pg_catalog.numeric"},
                                            {"currency", "$15"},
                                            {"data", "$16"},
                                            {"request_fingerprint", "$17"},
                                            {"response", "$18"}});
    const std::string line = InsertSelect(binding, TableId::kOrderLine,
                                          {{"order_id", "p.order_id"},
                                           {"line_no", "u.n"},
                                           {"variant_id", "u.variant_id"},
                                           {"location_id", "u.location_id"},
                                           {"quantity", "u.quantity"},
                                           {"unit_price", "u.unit_price::pg_catalog.numeric"}});
    ChangeTexts texts;
    texts.reference_id = "p.order_id::pg_catalog.text";
    texts.from = " CROSS JOIN placed p";
    const std::string sql =
        "WITH placed AS (" + order +
        binding.Sql(
            " ON CONFLICT ({orders.user_id}, {orders.idempotency_key}) DO NOTHING"
            " RETURNING {orders.order_id} AS order_id, ") +
        (created_at != nullptr ? QuoteName(created_at->name) : std::string("NULL")) +
        "::pg_catalog.timestamptz AS created_at), line AS (" + line +
        " FROM placed p CROSS JOIN ROWS FROM (pg_catalog.unnest($19), pg_catalog.unnest($20),"
        " pg_catalog.unnest($21), pg_catalog.unnest($22)) WITH ORDINALITY"
        " AS u (variant_id, location_id, quantity, unit_price, n)), " +
        ChangeCtes(binding, texts) +
        " SELECT p.order_id::pg_catalog.text, p.created_at,"
        " (SELECT pg_catalog.count(*) FROM level) FROM placed p";
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> order_types = {type_of(TableId::kOrders, "user_id"),
                                          TEXTOID,
                                          TEXTOID,
                                          TEXTOID,
                                          TEXTOID,
                                          JSONBOID,
                                          TEXTOID,
                                          JSONBOID,
                                          array_of(type_of(TableId::kOrderLine, "variant_id")),
                                          array_of(type_of(TableId::kOrderLine, "location_id")),
                                          INT8ARRAYOID,
                                          TEXTARRAYOID};
    types.insert(types.end(), order_types.begin(), order_types.end());
    return std::make_unique<Statement>(sql, types);
}

// What there is to write: a placed order, or a rejected one without lines and changes.
struct OrderRecord {
    const char *status = "placed";
    std::string response;                // JSON, without the order's id
    std::vector<std::string> locations;  // by line
    std::vector<StockChange> changes;
};

OrderAnswer WriteOrder(Binding &binding, const OrderRequest &request, const Id &user,
                       const OrderRecord &record) {
    Occasion occasion;
    occasion.kind = "sale";
    occasion.reason = "sale";
    occasion.reference_type = "order";
    const Column &variant_column = binding.column(TableId::kOrderLine, "variant_id");
    const Column *const location_column = binding.find(TableId::kOrderLine, "location_id");
    std::vector<std::optional<Datum>> variants;
    std::vector<std::optional<Datum>> locations;
    std::vector<int64> quantities;
    std::vector<std::optional<std::string>> prices;
    for (size_t i = 0; i < record.locations.size(); i++) {
        const RequestLine &line = request.lines[i];
        variants.emplace_back(ParseId(variant_column, line.need.variant.text, "variant_id").value);
        locations.emplace_back(
            location_column != nullptr
                ? ParseId(*location_column, record.locations[i], "location_id").value
                : TextDatum(record.locations[i]));
        quantities.push_back(line.quantity);
        prices.push_back(line.unit_price);
    }
    Params params = ChangeParams(binding, record.changes, occasion);
    params.Value(user.value)
        .Text(request.idempotency_key)
        .Text(record.status)
        .Text(request.total)
        .Text(request.currency)
        .Value(request.data)
        .Text(request.fingerprint)
        .Value(MakeJsonb(record.response))
        .Array(variants, variant_column.type)
        .Array(locations, location_column != nullptr ? location_column->type : TEXTOID)
        .Int8Array(quantities)
        .TextArray(prices);
    const Rows rows = binding.Plan(PlanId::kWriteOrder, BuildWriteOrder).Run(params);
    if (rows.empty()) {
        // Only somebody who writes orders without our lock can have been faster.
        throw pg::SqlError(pg::kIdempotencyRequestInProgress,
                           "an order with idempotency_key \"" + request.idempotency_key +
                               "\" has just been written by somebody else",
                           {}, "Retry the transaction.");
    }
    if (rows.Int8(0, 2) != static_cast<int64>(record.changes.size())) {
        throw NotWritten(record.changes.front().variant.text);
    }
    OrderAnswer answer = FromResponse(rows.Text(0, 0), ReadJson(MakeJsonb(record.response)));
    bool is_null;
    const Datum created_at = rows.Value(0, 1, &is_null);
    if (!is_null) {
        answer.created_at = created_at;
    }
    return answer;
}

std::string Head(const char *status, const OrderRequest &request, const locking::Grant &grant,
                 bool redis) {
    return "{\"status\": " + JsonString(status) + ", \"total\": " + request.total.value_or("null") +
           ", \"currency\": " + JsonStringOrNull(request.currency) +
           ", \"fence\": " + std::to_string(grant.fence) + ", \"protection\": \"" +
           (redis ? "redis" : "database") + "\"";
}

std::string LineJson(const RequestLine &line, size_t line_no) {
    return "{\"line_no\": " + std::to_string(line_no) +
           ", \"variant_id\": " + JsonString(line.need.variant.text) +
           ", \"quantity\": " + std::to_string(line.quantity) +
           ", \"unit_price\": " + line.unit_price.value_or("null");
}

OrderAnswer Reject(Binding &binding, const OrderRequest &request, const Id &user,
                   const locking::Grant &order_grant, const pg::SqlError &error) {
    OrderRecord record;
    record.status = "rejected";
    record.response = Head("rejected", request, order_grant, order_grant.redis) +
                      ", \"sqlstate\": " + JsonString(unpack_sql_state(error.sqlstate())) +
                      ", \"message\": " + JsonString(error.message()) +
                      ", \"detail\": " + (error.detail().empty() ? "null" : error.detail()) +
                      ", \"lines\": [";
    for (size_t i = 0; i < request.lines.size(); i++) {
        const auto &location = request.lines[i].need.location;
        record.response +=
            (i == 0 ? "" : ", ") + LineJson(request.lines[i], i + 1) +
            ", \"location_id\": " + (location ? JsonString(location->text) : "null") + "}";
    }
    record.response += "]}";
    return WriteOrder(binding, request, user, record);
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

// The failure of a check, if there is one: nothing has been written then.
std::optional<pg::SqlError> FailureOf(const Allocation &allocation) {
    if (!allocation.missing.empty()) {
        return NotFound(allocation.missing);
    }
    if (!allocation.shortages.empty()) {
        return InsufficientStock(allocation.shortages);
    }
    return std::nullopt;
}

// By line: where it is served from. Lines and demands are in the same order.
std::vector<size_t> DemandOfLines(const std::vector<RequestLine> &lines,
                                  const std::vector<Demand> &demands) {
    std::vector<size_t> of_line;
    size_t demand = 0;
    for (const RequestLine &line : lines) {
        while (demands[demand].need < line.need) {
            demand++;
        }
        of_line.push_back(demand);
    }
    return of_line;
}

OrderRecord Describe(const OrderRequest &request, const std::vector<Demand> &demands,
                     const Allocation &allocation, const locking::Grant &order_grant) {
    OrderRecord record;
    record.changes = allocation.changes;
    std::map<std::pair<std::string, std::string>, const StockChange *> change_of;
    bool redis = order_grant.redis;
    for (const StockChange &change : record.changes) {
        redis = redis && change.grant.redis;
        change_of[{change.variant.text, change.level.location}] = &change;
    }
    record.response = Head("placed", request, order_grant, redis) + ", \"lines\": [";
    const std::vector<size_t> demand_of = DemandOfLines(request.lines, demands);
    for (size_t i = 0; i < request.lines.size(); i++) {
        const RequestLine &line = request.lines[i];
        record.locations.push_back(allocation.locations[demand_of[i]]);
        const StockChange &change =
            *change_of.at({line.need.variant.text, record.locations.back()});
        record.response +=
            (i == 0 ? "" : ", ") + LineJson(line, i + 1) +
            ", \"location_id\": " + JsonString(record.locations.back()) +
            ", \"on_hand_after\": " + std::to_string(change.level.on_hand + change.delta) +
            ", \"fence\": " + std::to_string(change.grant.fence) + ", \"protection\": \"" +
            ProtectionName(change.grant) + "\"}";
    }
    record.response += "]}";
    return record;
}

locking::Grant LockOrder(const OrderRequest &request, const Id &user, const OrderOptions &options,
                         locking::WaitBudget &budget) {
    const locking::LockRequest lock = OrderLock(user.text, request.idempotency_key);
    if (!options.fail_on_conflict) {
        return locking::AcquireLocks({lock}, budget)[0];
    }
    const auto grant = locking::TryAcquireLock(lock);
    if (!grant) {
        throw pg::SqlError(
            pg::kIdempotencyRequestInProgress,
            "a request with idempotency_key \"" + request.idempotency_key + "\" is being processed",
            {}, "Retry later, or let options.on_conflict be \"wait\".");
    }
    return *grant;
}

}  // namespace

std::shared_ptr<Binding> OpenForOrders(const std::string &binding) {
    return OpenBinding(binding, {{TableId::kStockLevel, ACL_SELECT | ACL_UPDATE},
                                 {TableId::kMovement, ACL_SELECT | ACL_INSERT},
                                 {TableId::kOrders, ACL_SELECT | ACL_INSERT | ACL_UPDATE},
                                 {TableId::kOrderLine, ACL_SELECT | ACL_INSERT}});
}

OrderAnswer PlaceOrder(Binding &binding, const OrderRequest &request, const OrderOptions &options,
                       locking::WaitBudget &budget) {
    const Id user = UserId(binding, request);
    if (auto answer = Replay(binding, request, user)) {
        return *answer;
    }
    const locking::Grant order_grant = LockOrder(request, user, options, budget);
    if (auto answer = Replay(binding, request, user)) {
        return *answer;
    }
    const std::vector<Demand> demands = SumDemands(request.lines);
    const std::vector<StockNeed> needs = NeedsOf(demands);
    StockLocks locks = StockLocks::Acquire(binding, needs, budget);
    Allocation allocation = Allocate(demands, LockLevels(binding, needs, budget));
    if (const auto failure = FailureOf(allocation)) {
        if (!options.record_failure) {
            throw *failure;
        }
        return Reject(binding, request, user, order_grant, *failure);
    }
    for (StockChange &change : allocation.changes) {
        AddToStock(binding, change.level, change.delta);
        change.grant = locks.FenceFor(change.variant.text, change.level);
    }
    return WriteOrder(binding, request, user, Describe(request, demands, allocation, order_grant));
}

}  // namespace inventory_lock::commerce
