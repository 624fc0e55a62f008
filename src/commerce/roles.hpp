// The roles: what a column can be to this extension, table by table.
//
// Runs in: backends. Pure data. A role is required when nothing works without it; kWritten and
// kInserted say which columns are written when a row is changed or added, which is what the
// caller needs privileges on when he has none on the whole table.

#pragma once

#include "commerce/binding.hpp"

namespace inventory_lock::commerce {

enum RoleFlag : uint8 { kRequired = 1, kWritten = 2, kInserted = 4 };

struct Role {
    const char *name;
    uint8 flags;
};

struct RoleList {
    const char *table;  // the table's role: its column in inventory_lock.binding
    const Role *first;
    size_t count;

    const Role *begin() const { return first; }
    const Role *end() const { return first + count; }
};

inline constexpr Role kStockLevelRoles[] = {
    {"variant_id", kRequired},
    {"location_id", 0},
    {"product_id", 0},
    {"on_hand", kRequired | kWritten},
    {"held", 0},
    {"safety_stock", 0},
    {"backorder_limit", 0},
    {"low_stock_threshold", 0},
    {"version", kWritten},
    {"fence", kWritten},
    {"updated_at", kWritten},
    {"deleted_at", 0},
};

inline constexpr Role kMovementRoles[] = {
    {"movement_id", 0},           {"occurred_at", kInserted}, {"variant_id", kRequired | kInserted},
    {"location_id", kInserted},   {"kind", kInserted},        {"delta", kRequired | kInserted},
    {"on_hand_after", kInserted}, {"reason", kInserted},      {"reference_type", kInserted},
    {"reference_id", kInserted},  {"actor", kInserted},       {"note", kInserted},
    {"request_key", kInserted},   {"fence", kInserted},       {"protection", kInserted},
};

inline constexpr Role kOrdersRoles[] = {
    {"order_id", kRequired},
    {"user_id", kRequired | kInserted},
    {"idempotency_key", kRequired | kInserted},
    {"status", kRequired | kInserted | kWritten},
    {"total", kInserted},
    {"currency", kInserted},
    {"data", kRequired | kInserted},
    {"request_fingerprint", kRequired | kInserted},
    {"response", kRequired | kInserted},
    {"created_at", 0},
};

inline constexpr Role kOrderLineRoles[] = {
    {"order_id", kRequired | kInserted},
    {"line_no", kRequired | kInserted},
    {"variant_id", kRequired | kInserted},
    {"location_id", kInserted},
    {"quantity", kRequired | kInserted},
    {"unit_price", kInserted},
    {"cancelled", kRequired | kWritten},
    {"fulfilled", kRequired},
    {"returned", 0},
};

inline constexpr Role kReservationRoles[] = {
    {"reservation_id", kRequired | kInserted},
    {"line_no", kRequired | kInserted},
    {"holder", kRequired | kInserted},
    {"variant_id", kRequired | kInserted},
    {"location_id", kInserted},
    {"quantity", kRequired | kInserted},
    {"confirmed", kRequired | kWritten},
    {"state", kRequired | kInserted | kWritten},
    {"order_id", kWritten},
    {"expires_at", kRequired | kInserted | kWritten},
    {"created_at", 0},
};

inline constexpr Role kOutboxRoles[] = {
    {"event_id", kRequired},
    {"position", kRequired | kWritten},
    {"occurred_at", kRequired | kInserted},
    {"kind", kRequired | kInserted},
    {"variant_id", kRequired | kInserted},
    {"location_id", kRequired | kInserted},
    {"available_before", kRequired | kInserted},
    {"available", kRequired | kInserted},
};

inline constexpr Role kOutboxConsumerRoles[] = {
    {"consumer", kRequired | kInserted},
    {"position", kRequired | kWritten},
    {"acknowledged_at", kWritten},
};

// By TableId.
inline constexpr RoleList kRoles[kTableIds] = {
    {"stock_level", kStockLevelRoles, std::size(kStockLevelRoles)},
    {"movement", kMovementRoles, std::size(kMovementRoles)},
    {"orders", kOrdersRoles, std::size(kOrdersRoles)},
    {"order_line", kOrderLineRoles, std::size(kOrderLineRoles)},
    {"reservation", kReservationRoles, std::size(kReservationRoles)},
    {"outbox", kOutboxRoles, std::size(kOutboxRoles)},
    {"outbox_consumer", kOutboxConsumerRoles, std::size(kOutboxConsumerRoles)},
};

inline const RoleList &RolesOf(TableId id) {
    return kRoles[static_cast<size_t>(id)];
}

}  // namespace inventory_lock::commerce
