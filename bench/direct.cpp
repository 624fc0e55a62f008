// What the worker is measured against: locks over a Redis connection of the backend's own. For the
// bench only: it blocks in the socket, does not listen to cancels and trusts Redis to be there.
//
//     direct_lock(key text, port integer) → void        until the end of the transaction
//     direct_locks(keys text[], port integer) → void    the same for all of them, in one pipeline
//
// Both poll every 100 ms while a key is taken. direct_locks holds none of its keys meanwhile. What
// a transaction holds is released by one script at its end.

extern "C" {
#include <postgres.h>

#include <access/xact.h>
#include <catalog/pg_type.h>
#include <fmgr.h>
#include <hiredis/hiredis.h>
#include <miscadmin.h>
#include <utils/array.h>
#include <utils/builtins.h>

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(direct_lock);
PG_FUNCTION_INFO_V1(direct_locks);
}

#include <unistd.h>

#include <string>
#include <vector>

namespace {

constexpr useconds_t kRetryUs = 100000;
constexpr const char *kRelease =
    "local released = 0 "
    "for _, key in ipairs(KEYS) do "
    "if redis.call('GET', key) == ARGV[1] then released = released + redis.call('DEL', key) end "
    "end return released";

redisContext *connection = nullptr;
std::vector<std::string> held;  // keys of this transaction, all with the token below
std::string token;

void Append(const std::vector<std::string> &words) {
    std::vector<const char *> texts;
    std::vector<size_t> lengths;
    for (const std::string &word : words) {
        texts.push_back(word.data());
        lengths.push_back(word.size());
    }
    redisAppendCommandArgv(connection, static_cast<int>(words.size()), texts.data(),
                           lengths.data());
}

// The type of the next reply, -1 when there is none.
int NextReply() {
    void *reply = nullptr;
    if (redisGetReply(connection, &reply) != REDIS_OK) {
        return -1;
    }
    const int type = static_cast<redisReply *>(reply)->type;
    freeReplyObject(reply);
    return type;
}

void Release(const std::vector<std::string> &keys) {
    std::vector<std::string> words = {"EVAL", kRelease, std::to_string(keys.size())};
    words.insert(words.end(), keys.begin(), keys.end());
    words.push_back(token);
    Append(words);
    NextReply();
}

extern "C" void ReleaseAtEnd(XactEvent event, void *) {
    if (held.empty() || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) {
        return;
    }
    Release(held);
    held.clear();
}

void Connect(int port) {
    if (connection != nullptr) {
        return;
    }
    connection = redisConnect("127.0.0.1", port);
    if (connection == nullptr || connection->err != 0) {
        elog(ERROR, "cannot connect to Redis");
    }
    RegisterXactCallback(ReleaseAtEnd, nullptr);
}

// Takes all of the keys, or returns false and holds none of them.
bool Take(const std::vector<std::string> &keys) {
    for (const std::string &key : keys) {
        Append({"SET", key, token, "NX", "PX", "30000"});
    }
    std::vector<std::string> got;
    bool answered = true;
    for (const std::string &key : keys) {
        const int type = NextReply();
        answered = answered && type != -1;
        if (type == REDIS_REPLY_STATUS) {
            got.push_back(key);
        }
    }
    if (answered && got.size() == keys.size()) {
        held.insert(held.end(), got.begin(), got.end());
        return true;
    }
    if (!got.empty()) {
        Release(got);
    }
    if (!answered) {
        elog(ERROR, "Redis does not answer");
    }
    return false;
}

void TakeAll(const std::vector<std::string> &keys) {
    if (held.empty()) {
        static unsigned long counter = 0;
        token = std::to_string(MyProcPid) + "-" + std::to_string(++counter);
    }
    while (!Take(keys)) {
        usleep(kRetryUs);
        CHECK_FOR_INTERRUPTS();
    }
}

}  // namespace

extern "C" Datum direct_lock(PG_FUNCTION_ARGS) {
    Connect(PG_GETARG_INT32(1));
    TakeAll({text_to_cstring(PG_GETARG_TEXT_PP(0))});
    PG_RETURN_VOID();
}

extern "C" Datum direct_locks(PG_FUNCTION_ARGS) {
    Datum *elements = nullptr;
    int count = 0;
    deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elements,
                      nullptr, &count);
    std::vector<std::string> keys;
    for (int index = 0; index < count; ++index) {
        keys.emplace_back(text_to_cstring(DatumGetTextPP(elements[index])));
    }
    Connect(PG_GETARG_INT32(1));
    TakeAll(keys);
    PG_RETURN_VOID();
}
