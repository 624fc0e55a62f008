// Locks by name, for users: acquire_lock and its kin, and freeing keys by force.
// Runs in: backends.

#include "api/arguments.hpp"
#include "api/removal.hpp"
#include "commerce/binding.hpp"
#include "commerce/fence.hpp"
#include "commerce/product.hpp"
#include "locking/administration.hpp"
#include "locking/lock_name.hpp"
#include "locking/locks.hpp"

extern "C" {
#include <catalog/pg_authid.h>
#include <utils/acl.h>
}

namespace inventory_lock::api {

namespace {

constexpr int64 kUsPerMs = 1000;
constexpr int64 kMinTtlMs = 1000;
constexpr int64 kMaxTtlMs = 24 * 3600 * 1000;

// A ttl argument in milliseconds; 0 for NULL (the setting applies).
int64 TtlMs(const Interval *ttl) {
    if (ttl == nullptr) {
        return 0;
    }
    const double us = (ttl->month * 30.0 + ttl->day) * 86400e6 + static_cast<double>(ttl->time);
    const double ms = us / kUsPerMs;
    if (!(ms >= kMinTtlMs && ms <= kMaxTtlMs)) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "ttl must be between one second and one day");
    }
    return static_cast<int64>(ms);
}

bool MaySignalOthers() {
    return pg::Call(
        [] { return superuser() || has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND); });
}

Datum FenceDatum(const locking::Grant &grant) {
    return Int64GetDatum(static_cast<int64>(grant.fence));
}

}  // namespace

// acquire_lock(name text, wait_timeout interval, ttl interval) → fence
IL_FUNCTION(inventory_lock_acquire_lock) {
    const Arguments arguments(fcinfo);
    locking::LockRequest request;
    request.key = locking::CustomKey(arguments.Text(0, "name"));
    request.kind = locking::LockKind::kCustom;
    request.ttl_ms = TtlMs(arguments.OptionalInterval(2));
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(1));
    return FenceDatum(locking::AcquireLocks({request}, budget)[0]);
}

// try_acquire_lock(name text, ttl interval) → fence, NULL if somebody else has it
IL_FUNCTION(inventory_lock_try_acquire_lock) {
    const Arguments arguments(fcinfo);
    locking::LockRequest request;
    request.key = locking::CustomKey(arguments.Text(0, "name"));
    request.kind = locking::LockKind::kCustom;
    request.ttl_ms = TtlMs(arguments.OptionalInterval(1));
    const std::optional<locking::Grant> grant = locking::TryAcquireLock(request);
    if (!grant) {
        PG_RETURN_NULL();
    }
    return FenceDatum(*grant);
}

// acquire_stock_lock(variant_id, location_id text, wait_timeout interval, binding text) → fence
IL_FUNCTION(inventory_lock_acquire_stock_lock) {
    const Arguments arguments(fcinfo);
    const std::string variant_id = arguments.Id(0, "variant_id");
    const std::optional<std::string> location_id = arguments.OptionalText(1);
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(2));
    RequireWritable("acquire_stock_lock()");
    const std::string binding_name = arguments.Text(3, "binding");
    commerce::Session session;
    const auto binding = commerce::Binding::Resolve(binding_name);
    const commerce::StockNeed need = commerce::MakeNeed(*binding, variant_id, location_id);
    std::vector<locking::LockRequest> requests(1);
    if (binding->lock_per_location()) {
        if (!location_id) {
            throw pg::SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "location_id must not be null",
                               "The binding \"" + binding->name() + "\" locks each location.");
        }
        requests[0].key = locking::StockKey(need.variant.text, need.location->text);
    } else {
        requests[0].key = locking::StockKey(need.variant.text);
    }
    for (locking::LockRequest &intent : commerce::ProductIntents(*binding, {need})) {
        requests.push_back(std::move(intent));
    }
    const Datum fence = FenceDatum(locking::AcquireLocks(requests, budget)[0]);
    commerce::CoverProducts(*binding, need, budget);  // what is remembered may be old
    session.Finish();
    return fence;
}

// acquire_product_lock(product_id, wait_timeout interval, binding text) → fence
IL_FUNCTION(inventory_lock_acquire_product_lock) {
    const Arguments arguments(fcinfo);
    const std::string product_id = arguments.Id(0, "product_id");
    locking::WaitBudget budget = locking::WaitBudget::From(arguments.OptionalInterval(1));
    RequireWritable("acquire_product_lock()");
    const std::string binding_name = arguments.Text(2, "binding");
    commerce::Session session;
    const auto binding = commerce::Binding::Resolve(binding_name);
    const locking::LockRequest request = commerce::ProductLock(*binding, product_id);
    const Datum fence = FenceDatum(locking::AcquireLocks({request}, budget)[0]);
    session.Finish();
    return fence;
}

// assert_fence(key text, fence bigint, binding text) → void
IL_FUNCTION(inventory_lock_assert_fence) {
    const Arguments arguments(fcinfo);
    const std::string key = arguments.Text(0, "key");
    const int64 fence = arguments.Int8(1, "fence");
    const std::string binding_name = arguments.Text(2, "binding");
    RequireWritable("assert_fence()");
    commerce::Session session;
    commerce::AssertFence(key, fence, binding_name);
    session.Finish();
    PG_RETURN_VOID();
}

// force_release_lock(key text) → true if there was such a key. A holder of this server is cancelled
// first; if that ends its hold, nothing is deleted, for the key may have its next holder already.
IL_FUNCTION(inventory_lock_force_release_lock) {
    const Arguments arguments(fcinfo);
    const std::string key = arguments.Text(0, "key");
    locking::CheckWholeKey(key);
    RequireWritable("force_release_lock()");
    if (locking::IsShared(key) && !MaySignalOthers()) {
        throw pg::SqlError(
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to release the key of a product whose variants are being changed",
            "The transactions that change them could not commit.",
            "Superusers and roles with privileges of pg_signal_backend may.");
    }
    const int32 pid = locking::HolderOf(key);
    const bool ours = pid != 0 && pid != MyProcPid;
    bool there = ours && CancelHolder(key, pid) != Farewell::kStays;
    if (!there) {
        const locking::KeyAnswer answer = locking::ForceRelease(key);
        if (answer == locking::KeyAnswer::kUnavailable && (!ours || RedisInUse())) {
            ThrowRedisUnavailable();
        }
        there = answer == locking::KeyAnswer::kThere;
    }
    const char *text = key.c_str();
    pg::Call([&] {
        ereport(LOG, (errmsg("lock released by force: key=%s found=%d holder_pid=%d by=%s", text,
                             there ? 1 : 0, pid, GetUserNameFromId(GetUserId(), false))));
    });
    return BoolGetDatum(there);
}

// lock_token(key text) → the printable beginning of the token in Redis, NULL if the key is free
IL_FUNCTION(inventory_lock_lock_token) {
    const Arguments arguments(fcinfo);
    const std::string key = arguments.Text(0, "key");
    locking::CheckWholeKey(key);
    RequirePrimary("lock_token()");
    std::string token;
    const locking::KeyAnswer answer = locking::InspectKey(key, &token);
    if (answer == locking::KeyAnswer::kUnavailable) {
        ThrowRedisUnavailable();
    }
    if (answer == locking::KeyAnswer::kAbsent) {
        PG_RETURN_NULL();
    }
    return pg::Call([&] { return CStringGetTextDatum(token.c_str()); });
}

}  // namespace inventory_lock::api
