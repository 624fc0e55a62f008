// Events of stock: written where a level is changed, read by consumers who acknowledge them.
//
// Runs in: backends. An event says that what is available at one level crossed a line: it fell to
// or below the low-stock threshold, ran out, or came back. Whoever writes a level hands the change
// to WriteEvents afterwards, in the same transaction; where nothing crosses, that compares numbers
// which are in memory already, and no more.
//
// The ids of events come from a sequence, so they become visible out of order: "id > last" would
// skip an event whose transaction commits late. Therefore readers go by another number, the
// *position*, which an event gets only after its commit, from the first fetch that sees it. One
// fetch at a time gives out positions and keeps the lock on that until its transaction ends; a
// fetch that finds the lock taken does without. So positions become visible in ascending order,
// whatever order events and fetches commit in, and a consumer needs to remember a single one.
// Positions are drawn from the sequence of the ids: one that a rolled back fetch has given
// out is not given out again. Events of one level get them in the order in which they happened.

#pragma once

#include "commerce/movement.hpp"

namespace inventory_lock::commerce {

// Writes the events of changes that have been written. A change that crosses nothing has none.
void WriteEvents(Binding &binding, const std::vector<StockChange> &changes);
void WriteEvent(Binding &binding, const StockChange &change);

// What a change from `before` to `after` is called: low_stock, out_of_stock, back_in_stock, or
// nullptr when nothing was crossed. Never more than one: a level that runs out is no longer low.
const char *CrossingOf(const Level &before, const Level &after);

struct StockEvent {
    int64 position = 0;
    int64 event_id = 0;
    Datum occurred_at = 0;
    std::string kind;
    std::string variant_id;
    std::string location_id;
    int64 available_before = 0;
    int64 available = 0;
};

// For reading and for acknowledging. IL051 when the binding has no outbox.
std::shared_ptr<Binding> OpenForFetching(const std::string &binding);
std::shared_ptr<Binding> OpenForAcknowledging(const std::string &binding);

// The events behind the consumer's position, the oldest first, at most `limit` (positive). The same
// again until they are acknowledged. A consumer that is not known yet begins with the oldest
// event there is, and is known from then on.
std::vector<StockEvent> FetchEvents(Binding &binding, const std::string &consumer, int64 limit);

// Moves the consumer's position to this one unless it is further already; returns where it is now.
// 22023 for a consumer that has never fetched, or a position that has not been given out.
int64 AcknowledgeEvents(Binding &binding, const std::string &consumer, int64 position);

}  // namespace inventory_lock::commerce
