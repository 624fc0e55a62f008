// What the worker is measured against: a lock over a Redis connection of the backend's own. For the
// bench only: it blocks in the socket, does not listen to cancels and trusts Redis to be there.
//
//     direct_lock(key text, port integer) → void     until the end of the transaction

extern "C" {
#include <postgres.h>

#include <access/xact.h>
#include <fmgr.h>
#include <hiredis/hiredis.h>
#include <miscadmin.h>
#include <utils/builtins.h>

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(direct_lock);
}

#include <unistd.h>

#include <string>

namespace {

constexpr useconds_t kRetryUs = 100000;
constexpr const char *kRelease =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

redisContext *connection = nullptr;
std::string held;
std::string token;

extern "C" void ReleaseAtEnd(XactEvent event, void *) {
    if (held.empty() || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) {
        return;
    }
    freeReplyObject(
        redisCommand(connection, "EVAL %s 1 %s %s", kRelease, held.c_str(), token.c_str()));
    held.clear();
}

}  // namespace

extern "C" Datum direct_lock(PG_FUNCTION_ARGS) {
    char *const key = text_to_cstring(PG_GETARG_TEXT_PP(0));
    if (connection == nullptr) {
        connection = redisConnect("127.0.0.1", PG_GETARG_INT32(1));
        if (connection == nullptr || connection->err != 0) {
            elog(ERROR, "cannot connect to Redis");
        }
        RegisterXactCallback(ReleaseAtEnd, nullptr);
    }
    static unsigned long counter = 0;
    token = std::to_string(MyProcPid) + "-" + std::to_string(++counter);
    for (;;) {
        auto *const reply = static_cast<redisReply *>(
            redisCommand(connection, "SET %s %s NX PX 30000", key, token.c_str()));
        if (reply == nullptr) {
            elog(ERROR, "Redis does not answer");
        }
        const bool got = reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        if (got) {
            break;
        }
        usleep(kRetryUs);
        CHECK_FOR_INTERRUPTS();
    }
    held = key;
    PG_RETURN_VOID();
}
