// Reservations: units held for somebody until he orders, gives up, or the time is over.
//
// Runs in: backends. A hold is counted in the level's `held`, so that nobody else can buy it, and
// kept line by line in the reservation table. It ends once: confirmed (by confirm_reservation or by
// an order), released, or expired. Expiry is judged when somebody looks: a hold whose time is over
// binds nobody, whether or not it has been tidied up; FreeExpiredHolds does that when stock seems
// short.
//
// Everything that changes a hold takes the stock keys of its variants first, then the reservation's
// rows; its state is read again then.

#pragma once

#include "commerce/allocation.hpp"

namespace inventory_lock::commerce {

inline constexpr const char *kHoldReference = "reservation";  // of movements

struct HoldLine {
    int64 line_no = 0;
    std::string variant_id;
    std::string location_id;
    int64 quantity = 0;
    int64 confirmed = 0;
    std::string state;
    bool expired = false;  // its time is over
};

struct Hold {
    Id id;
    std::string holder;
    std::optional<Datum> expires_at;
    std::vector<HoldLine> lines;
};

struct ReservationAnswer {
    Hold hold;
    std::string state;
    bool redis = true;
};

struct ReservationRequest {
    std::string holder;
    std::vector<RequestLine> lines;
    const Interval *ttl = nullptr;  // positive
};

std::shared_ptr<Binding> OpenForReservations(const std::string &binding);

// Holds all lines or none. Throws IL001, IL002 and what locking throws.
ReservationAnswer Reserve(Binding &binding, const ReservationRequest &request,
                          locking::WaitBudget &budget);

// Sells what is held (all, or the selected lines; the rest is released). IL030 to IL033, IL042.
ReservationAnswer Confirm(Binding &binding, const std::string &reservation_id,
                          const std::optional<std::vector<LineSelector>> &selectors,
                          const std::optional<std::string> &order_id, locking::WaitBudget &budget);

ReservationAnswer Release(Binding &binding, const std::string &reservation_id,
                          locking::WaitBudget &budget);

// The hold ends `ttl` from now.
ReservationAnswer Extend(Binding &binding, const std::string &reservation_id, const Interval *ttl,
                         locking::WaitBudget &budget);

// The parts of an order that uses a hold: its lines, the needs to lock besides the order's own, and
// after locking the hold again, which must still stand.
Hold ReadHold(Binding &binding, const std::string &reservation_id);
std::vector<StockNeed> NeedsOf(const Binding &binding, const Hold &hold);
Hold LockHold(Binding &binding, const Hold &hold, locking::WaitBudget &budget);
OwnHolds UnitsOf(const Hold &hold);

// Ends holds on these levels whose time is over, but for the caller's own (it stood when it was
// locked, and is ended by the caller). True when there were some: read the levels again.
bool FreeExpiredHolds(Binding &binding, StockLocks &locks, const std::vector<StockNeed> &needs,
                      const std::vector<std::vector<Level>> &levels,
                      const std::optional<Hold> &own_hold = std::nullopt);

// Runs the statement that ends holds; the parameters are those of ChangeParams, then: held deltas,
// reference, reservation, line numbers, what is confirmed of them, state, order. Raises when not
// all of these levels and as many lines have changed.
void RunHoldEnd(Binding &binding, const Params &params, const std::vector<StockChange> &changes,
                const std::string &reservation_id, size_t lines);

// Units on hold for too long, by variant and location: not to be counted as held.
OwnHolds FindExpired(Binding &binding, const std::vector<StockNeed> &needs);

}  // namespace inventory_lock::commerce
