// SQL functions over the outbox: they read arguments, ask commerce/ and build rows; nothing else.
//
// Runs in: backends.

#include "api/arguments.hpp"
#include "api/result.hpp"
#include "commerce/outbox.hpp"

namespace inventory_lock::api {

namespace {

constexpr int64 kMostEvents = 10000;
constexpr size_t kMaxConsumerBytes = 255;  // it stands in an index

std::string ReadConsumer(const Arguments &arguments) {
    std::string consumer = arguments.Text(0, "consumer");
    if (consumer.empty() || consumer.size() > kMaxConsumerBytes) {
        throw pg::SqlError(
            ERRCODE_INVALID_PARAMETER_VALUE,
            "argument \"consumer\" must have 1 to " + std::to_string(kMaxConsumerBytes) + " bytes");
    }
    return consumer;
}

}  // namespace

// outbox_fetch(consumer, max_events, binding)
IL_FUNCTION(inventory_lock_outbox_fetch) {
    const Arguments arguments(fcinfo);
    RequireWritable("outbox_fetch()");
    const std::string consumer = ReadConsumer(arguments);
    const int64 max_events = arguments.Int8(1, "max_events");
    if (max_events < 1 || max_events > kMostEvents) {
        throw pg::SqlError(
            ERRCODE_INVALID_PARAMETER_VALUE,
            "argument \"max_events\" must be from 1 to " + std::to_string(kMostEvents));
    }
    const std::string binding_name = arguments.Text(2, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForFetching(binding_name);
    Result result(fcinfo);
    for (const commerce::StockEvent &event :
         commerce::FetchEvents(*binding, consumer, max_events)) {
        Row row;
        row.Int8(event.position)
            .Int8(event.event_id)
            .Value(event.occurred_at)
            .Text(event.kind)
            .Text(event.variant_id)
            .Text(event.location_id)
            .Int8(event.available_before)
            .Int8(event.available);
        result.Put(row);
    }
    session.Finish();
    return static_cast<Datum>(0);
}

// outbox_ack(consumer, position, binding) → the consumer's position now
IL_FUNCTION(inventory_lock_outbox_ack) {
    const Arguments arguments(fcinfo);
    RequireWritable("outbox_ack()");
    const std::string consumer = ReadConsumer(arguments);
    const int64 position = arguments.Int8(1, "position");
    const std::string binding_name = arguments.Text(2, "binding");
    commerce::Session session;
    const auto binding = commerce::OpenForAcknowledging(binding_name);
    const int64 now_at = commerce::AcknowledgeEvents(*binding, consumer, position);
    session.Finish();
    return Int64GetDatum(now_at);
}

}  // namespace inventory_lock::api
