// The test interface: functions for trying locks out on a running system without touching its
// business. They refuse everything whose id or name does not start with test_.
//
// Runs in: backends.

#include "api/arguments.hpp"
#include "api/removal.hpp"
#include "api/result.hpp"
#include "commerce/binding.hpp"
#include "locking/administration.hpp"
#include "locking/lock_name.hpp"
#include "locking/locks.hpp"
#include "pg/clock.hpp"

namespace inventory_lock::api {

namespace {

constexpr std::string_view kTestPrefix = "test_";
constexpr int64 kLongestHoldUs = INT64CONST(600000000);

std::string TestId(const Arguments &arguments) {
    std::string id = arguments.Text(0, "variant_id");
    if (!locking::StartsWith(id, kTestPrefix)) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "variant_id must start with \"test_\"");
    }
    return id;
}

}  // namespace

// test_id(variant_id text) → the same, or an error when it does not start with test_
IL_FUNCTION(inventory_lock_test_id) {
    const Arguments arguments(fcinfo);
    const std::string id = TestId(arguments);
    return pg::Call([&] { return CStringGetTextDatum(id.c_str()); });
}

// test_concurrent_access(variant_id text, hold interval) → (variant_id, fence, protection,
// waited_ms, held_ms): takes the variant's lock and keeps it for that long
IL_FUNCTION(inventory_lock_test_concurrent_access) {
    const Arguments arguments(fcinfo);
    RequireWritable("test_concurrent_access()");
    const std::string id = TestId(arguments);
    const Datum hold = arguments.Required(1, "hold");
    const double seconds = pg::Call([&] {
        const Interval *interval = DatumGetIntervalP(hold);
        return (interval->month * 30.0 + interval->day) * 86400.0 +
               static_cast<double>(interval->time) / 1e6;
    });
    if (!(seconds >= 0 && seconds * 1e6 <= kLongestHoldUs)) {
        throw pg::SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                           "hold must be between 0 and 10 minutes");
    }
    locking::WaitBudget budget = locking::WaitBudget::From(nullptr);
    locking::LockRequest request;
    request.key = locking::StockKey(id);
    const locking::Grant grant = locking::AcquireLocks({request}, budget)[0];
    const int64 since_us = pg::BootUs();
    pg::Call([&] { (void)DirectFunctionCall1(pg_sleep, Float8GetDatum(seconds)); });
    locking::CheckHolds();
    Result result(fcinfo);
    Row row;
    row.Text(id).Int8(static_cast<int64>(grant.fence));
    row.Text(grant.redis ? "redis" : "database").Float8(budget.WaitedMs());
    row.Float8(static_cast<double>(pg::BootUs() - since_us) / 1000);
    result.Put(row);
    return Datum{0};
}

// clear_test_locks() → how many keys of ids and names that start with test_ were freed
IL_FUNCTION(inventory_lock_clear_test_locks) {
    (void)fcinfo;
    RequireWritable("clear_test_locks()");
    uint64 freed = 0;
    for (const std::string_view kind :
         {locking::kStockPrefix, locking::kOrderPrefix, locking::kCustomPrefix}) {
        const std::string prefix = std::string(kind) + std::string(kTestPrefix);
        for (const locking::Holder &holder : locking::HoldersOf(prefix)) {
            freed += CancelHolder(holder.key, holder.pid) == Farewell::kGone ? 1 : 0;
        }
        if (const std::optional<uint64> deleted = locking::DeleteKeysOf(prefix)) {
            freed += *deleted;
        } else if (RedisInUse()) {
            throw pg::SqlError(pg::kLockServiceUnavailable,
                               "could not look for test locks in Redis", {},
                               "Redis must answer, and its user needs the right to SCAN.");
        }
    }
    return Int64GetDatum(static_cast<int64>(freed));
}

}  // namespace inventory_lock::api
