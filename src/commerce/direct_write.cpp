// Writes changes without plans: see direct_write.hpp.

#include "commerce/direct_write.hpp"

#include "commerce/direct_rows.hpp"

extern "C" {
#include <utils/acl.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr WrittenRole kLevelRoles[] = {{"on_hand", ValueKind::kInteger},
                                       {"held", ValueKind::kInteger},
                                       {"version", ValueKind::kInteger},
                                       {"fence", ValueKind::kInteger},
                                       {"updated_at", ValueKind::kTime}};
enum LevelColumn { kOnHand, kHeld, kVersion, kLevelFence, kUpdatedAt };

constexpr WrittenRole kMovementRoles[] = {
    {"occurred_at", ValueKind::kTime},  {"variant_id", ValueKind::kVariant},
    {"location_id", ValueKind::kText},  {"kind", ValueKind::kText},
    {"delta", ValueKind::kInteger},     {"on_hand_after", ValueKind::kInteger},
    {"reason", ValueKind::kText},       {"reference_type", ValueKind::kText},
    {"reference_id", ValueKind::kText}, {"actor", ValueKind::kText},
    {"note", ValueKind::kText},         {"request_key", ValueKind::kText},
    {"fence", ValueKind::kInteger},     {"protection", ValueKind::kText}};
enum MovementColumn {
    kOccurredAt,
    kVariant,
    kLocation,
    kKind,
    kDelta,
    kOnHandAfter,
    kReason,
    kReferenceType,
    kReferenceId,
    kActor,
    kNote,
    kRequestKey,
    kMovementFence,
    kProtection
};
static_assert(std::size(kMovementRoles) <= DirectRows::kMostColumns);

void Prepare(const Binding &binding, DirectWrites *writes) {
    writes->known = true;
    PrepareRows(binding, TableId::kStockLevel, DirectOperation::kUpdate, kLevelRoles,
                std::size(kLevelRoles), &writes->level);
    if (writes->level.table != nullptr) {
        PrepareRows(binding, TableId::kMovement, DirectOperation::kInsert, kMovementRoles,
                    std::size(kMovementRoles), &writes->movement);
    }
}

RowValues LevelValues(const DirectWrites &writes, const StockChange &change, int64 on_hand,
                      const std::optional<int64> &version) {
    RowValues level(writes.level);
    level.Int8(kOnHand, on_hand);
    if (change.held_delta != 0) {
        level.Int8(kHeld, change.level.held + change.held_delta);
    }
    if (version) {
        level.Int8(kVersion, *version);
    }
    level.Int8(kLevelFence, static_cast<int64>(change.grant.fence));
    level.Now(kUpdatedAt);
    return level;
}

// Who only sells needs no privilege on this column, so it is not among those checked in advance.
bool MayWriteHeld(const Binding &binding) {
    if (binding.counts_holds()) {
        return true;  // there is none
    }
    const Oid relation = binding.table(TableId::kStockLevel).oid;
    const AttrNumber number = NumberOf(binding.find(TableId::kStockLevel, "held"));
    return pg::Call([=] {
        return pg_class_aclcheck(relation, GetUserId(), ACL_UPDATE) == ACLCHECK_OK ||
               pg_attribute_aclcheck(relation, number, GetUserId(), ACL_UPDATE) == ACLCHECK_OK;
    });
}

RowValues MovementValues(const DirectWrites &writes, const StockChange &change, int64 on_hand,
                         const Occasion &occasion) {
    RowValues movement(writes.movement);
    movement.Now(kOccurredAt);
    movement.Value(kVariant, change.variant.value);
    movement.Text(kLocation, change.level.location);
    movement.Text(kKind, occasion.kind);
    movement.Int8(kDelta, change.delta);
    movement.Int8(kOnHandAfter, on_hand);
    movement.Text(kReason, occasion.reason);
    movement.Text(kReferenceType, occasion.reference_type);
    movement.Text(kReferenceId, occasion.reference_id);
    movement.Text(kActor, occasion.actor);
    movement.Text(kNote, occasion.note);
    movement.Text(kRequestKey, occasion.request_key);
    movement.Int8(kMovementFence, static_cast<int64>(change.grant.fence));
    movement.Text(kProtection, ProtectionName(change.grant));
    return movement;
}

}  // namespace

bool CanWriteDirectly(Binding &binding) {
    if (!binding.is_current()) {
        return false;
    }
    DirectWrites &writes = binding.writes();
    if (IsInterrupted(writes.level.table) || IsInterrupted(writes.movement.table)) {
        ForgetRows(&writes.level);
        ForgetRows(&writes.movement);
        writes = {};
    }
    if (!writes.known) {
        Prepare(binding, &writes);
    }
    return CanWriteRows(binding, TableId::kMovement, writes.movement) &&
           CanWriteRows(binding, TableId::kStockLevel, writes.level);
}

void KeepTablesOpen(Binding &binding) {
    const DirectWrites &writes = binding.writes();
    pg::Call([&writes] {
        KeepTableOpen(writes.level.table);
        KeepTableOpen(writes.movement.table);
    });
}

void LetTablesGo(Binding &binding) {
    const DirectWrites &writes = binding.writes();
    pg::Call([&writes] {
        LetTableGo(writes.movement.table);
        LetTableGo(writes.level.table);
    });
}

std::optional<WrittenChange> WriteDirectly(Binding &binding, const StockChange &change,
                                           const Occasion &occasion) {
    const DirectWrites &writes = binding.writes();
    std::optional<int64> version = change.level.version;
    if (!change.level.row || change.level.row->generation != binding.generation() ||
        version == std::numeric_limits<int64>::max() || !binding.is_current() ||
        writes.movement.table == nullptr || (change.held_delta != 0 && !MayWriteHeld(binding))) {
        return std::nullopt;
    }
    if (version) {
        ++*version;
    }
    const int64 on_hand = change.level.on_hand + change.delta;
    const RowValues level = LevelValues(writes, change, on_hand, version);
    const RowValues movement = MovementValues(writes, change, on_hand, occasion);
    if (!level.good() || !movement.good()) {
        return std::nullopt;  // the statement says why not
    }
    const Column *const id = binding.find(TableId::kMovement, "movement_id");
    DirectValue returned = {NumberOf(id), 0, true};
    const bool done = pg::Call([&] {
        if (!UpdateDirectly(writes.level.table, *change.level.row, level.values(), level.count())) {
            return false;
        }
        InsertDirectly(writes.movement.table, movement.values(), movement.count(), &returned,
                       id != nullptr ? 1 : 0);
        return true;
    });
    if (!done) {
        return std::nullopt;
    }
    WrittenChange written;
    written.movement_id = returned.is_null ? std::string() : TextOfId(id->type, returned.value);
    written.on_hand = on_hand;
    written.version = version;
    return written;
}

}  // namespace inventory_lock::commerce
