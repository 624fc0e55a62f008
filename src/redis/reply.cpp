// Accessors of one reply; see reply.hpp. Runs in: the worker; pure C++.
//
// The peer is not trusted: no accessor assumes a type, an element or a length that it has not
// looked at.

#include "redis/reply.hpp"

#include <charconv>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

bool ReplyView::IsNil() const {
    return reply_ == nullptr || reply_->type == REDIS_REPLY_NIL;
}

bool ReplyView::IsError() const {
    return reply_ != nullptr && reply_->type == REDIS_REPLY_ERROR;
}

bool ReplyView::IsArray() const {
    return reply_ != nullptr && reply_->type == REDIS_REPLY_ARRAY;
}

std::string_view ReplyView::Text() const {
    if (reply_ == nullptr || reply_->str == nullptr) {
        return {};
    }
    switch (reply_->type) {
        case REDIS_REPLY_STRING:
        case REDIS_REPLY_STATUS:
        case REDIS_REPLY_ERROR:
            return {reply_->str, static_cast<size_t>(reply_->len)};
        default:
            return {};
    }
}

std::optional<int64_t> ReplyView::Integer() const {
    if (reply_ == nullptr) {
        return std::nullopt;
    }
    if (reply_->type == REDIS_REPLY_INTEGER) {
        return reply_->integer;
    }
    if (reply_->type != REDIS_REPLY_STRING && reply_->type != REDIS_REPLY_STATUS) {
        return std::nullopt;
    }
    const std::string_view digits = Text();
    if (digits.empty() || digits.front() == '-') {
        return std::nullopt;
    }
    int64_t value = 0;
    const char *end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stop != end) {
        return std::nullopt;
    }
    return value;
}

size_t ReplyView::size() const {
    return IsArray() && reply_->element ? reply_->elements : 0;
}

ReplyView ReplyView::operator[](size_t index) const {
    return ReplyView(index < size() ? reply_->element[index] : nullptr);
}

}  // namespace inventory_lock::redis
