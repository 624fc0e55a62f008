// Taking locks away; see removal.hpp. Runs in: backends.

#include "api/removal.hpp"

#include "api/result.hpp"
#include "locking/administration.hpp"
#include "locking/lease_taking.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

extern "C" {
#include <utils/wait_event.h>
}

namespace inventory_lock::api {

namespace {

constexpr int64 kPatienceUs = 500000;
constexpr long kPollMs = 10;

}  // namespace

Farewell CancelHolder(const std::string &key, int32 pid) {
    if (locking::HolderOf(key) != pid) {
        return Farewell::kNever;
    }
    const std::string shown = Shown(key);
    const char *text = shown.c_str();
    const bool sent = pg::Call([&] {
        ereport(NOTICE, (errmsg("canceling process %d, which holds lock \"%s\"", pid, text)));
        return DatumGetBool(DirectFunctionCall1(pg_cancel_backend, Int32GetDatum(pid)));
    });
    const int64 until_us = pg::BootUs() + kPatienceUs;
    while (sent && pg::BootUs() < until_us) {
        if (locking::HolderOf(key) != pid) {
            return Farewell::kGone;
        }
        pg::Call([] {
            (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollMs,
                            WAIT_EVENT_PG_SLEEP);
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
        });
    }
    if (locking::HolderOf(key) != pid) {
        return Farewell::kGone;
    }
    pg::Call([&] {
        ereport(NOTICE, (errmsg("process %d stays in its transaction", pid),
                         RedisInUse() ? errdetail("It cannot commit any more.") : 0,
                         errhint("pg_terminate_backend(%d) ends it.", pid)));
    });
    return Farewell::kStays;
}

bool RedisInUse() {
    return !locking::MissingConfiguration();
}

void ThrowRedisUnavailable() {
    if (const auto missing = locking::MissingConfiguration()) {
        throw pg::SqlError(pg::kLockServiceUnavailable, "locks in Redis are not configured",
                           missing->detail, missing->hint);
    }
    throw pg::SqlError(pg::kLockServiceUnavailable, "Redis does not answer", {},
                       "The view inventory_lock.redis_status shows what is wrong.");
}

}  // namespace inventory_lock::api
