// hiredis' reader with bounds; see reply_reader.hpp. Runs in: the worker; pure C++.

#include "redis/reply_reader.hpp"

#include <new>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr int kMaxDepth = 7;  // arrays around an element; hiredis before 1.0 takes 8

}  // namespace

ReplyReader::ReplyReader(size_t max_reply_bytes) : max_reply_bytes_(max_reply_bytes) {
    Reset();
}

void ReplyReader::Reset() {
    reader_.reset(redisReaderCreate());
    if (!reader_) {
        throw std::bad_alloc();
    }
    using Functions = redisReplyObjectFunctions;
    budget_.hiredis = *reader_->fn;
    budget_.functions = budget_.hiredis;
    budget_.functions.createString = Create<&Functions::createString>;
    budget_.functions.createArray = CreateArray;
    budget_.functions.createInteger = Create<&Functions::createInteger>;
    budget_.functions.createNil = Create<&Functions::createNil>;
#if HIREDIS_MAJOR >= 1
    budget_.functions.createDouble = Create<&Functions::createDouble>;
    budget_.functions.createBool = Create<&Functions::createBool>;
#endif
    budget_.elements_left = max_elements();
    budget_.refused = "";
    reader_->fn = &budget_.functions;
    reader_->privdata = &budget_;
    fed_bytes_ = 0;
    broken_ = false;
}

void ReplyReader::Feed(std::string_view bytes) {
    fed_bytes_ += bytes.size();
    if (!broken_ && redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK) {
        broken_ = true;
    }
}

ReplyOwner ReplyReader::Take(Trouble &trouble) {
    void *reply = nullptr;
    if (broken_ || redisReaderGetReply(reader_.get(), &reply) != REDIS_OK) {
        broken_ = true;
        trouble = {TroubleKind::kProtocol, Printable(reader_->errstr)};
        if (reader_->err == REDIS_ERR_OOM) {
            trouble.text = *budget_.refused != '\0' ? budget_.refused : "out of memory";
        }
        return nullptr;
    }
    const size_t unread = reader_->len - reader_->pos;
    if (reply != nullptr) {
        fed_bytes_ = unread;
        budget_.elements_left = max_elements();
        return ReplyOwner(static_cast<redisReply *>(reply));
    }
    if (fed_bytes_ > max_reply_bytes_) {
        broken_ = true;
        trouble = {TroubleKind::kProtocol, "a reply is longer than is accepted"};
    }
    return nullptr;
}

// Constructors, called by hiredis: they must not throw. Null makes the reader report that memory is
// out.
template <typename Count>
void *ReplyReader::CreateArray(const redisReadTask *task, Count elements) {
    if (!Accept(task)) {
        return nullptr;
    }
    auto *budget = static_cast<Budget *>(task->privdata);
    if (elements > 0) {
        if (static_cast<size_t>(elements) > budget->elements_left) {
            budget->refused = "a reply announces more elements than are accepted";
            return nullptr;
        }
        budget->elements_left -= static_cast<size_t>(elements);
    }
    return budget->hiredis.createArray(task, elements);
}

template <auto Member, typename... Arguments>
void *ReplyReader::Create(const redisReadTask *task, Arguments... arguments) {
    if (!Accept(task)) {
        return nullptr;
    }
    return (static_cast<Budget *>(task->privdata)->hiredis.*Member)(task, arguments...);
}

// Is it of RESP2, and not too deep in arrays? (A null of RESP2 is one of its strings or arrays.)
bool ReplyReader::Accept(const redisReadTask *task) {
    auto *budget = static_cast<Budget *>(task->privdata);
    switch (task->type) {
        case REDIS_REPLY_STRING:
        case REDIS_REPLY_ARRAY:
        case REDIS_REPLY_INTEGER:
        case REDIS_REPLY_STATUS:
        case REDIS_REPLY_ERROR:
            break;
        default:
            budget->refused = "a reply of another protocol than RESP2";
            return false;
    }
    int depth = 0;
    for (const redisReadTask *outer = task->parent; outer != nullptr; outer = outer->parent) {
        depth++;
    }
    if (depth > kMaxDepth) {
        budget->refused = "a reply with too many arrays within arrays";
        return false;
    }
    return true;
}

}  // namespace inventory_lock::redis
