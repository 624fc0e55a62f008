// hiredis' reader with bounds; see reply_reader.hpp. Runs in: the worker; pure C++.

#include "redis/reply_reader.hpp"

#include <new>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

ReplyReader::ReplyReader(size_t max_reply_bytes) : max_reply_bytes_(max_reply_bytes) {
    Reset();
}

void ReplyReader::Reset() {
    reader_.reset(redisReaderCreate());
    if (!reader_) {
        throw std::bad_alloc();
    }
    budget_.functions = *reader_->fn;
    budget_.create_array = budget_.functions.createArray;
    budget_.functions.createArray = CreateArray;
    budget_.elements_left = max_elements();
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
            trouble.text = "a reply announces more elements than are accepted";
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

// Called by hiredis, so it must not throw. Null makes the reader report that memory is out.
template <typename Count>
void *ReplyReader::CreateArray(const redisReadTask *task, Count elements) {
    auto *budget = static_cast<Budget *>(task->privdata);
    if (elements > 0) {
        if (static_cast<size_t>(elements) > budget->elements_left) {
            return nullptr;
        }
        budget->elements_left -= static_cast<size_t>(elements);
    }
    return budget->create_array(task, elements);
}

}  // namespace inventory_lock::redis
