// One reply from Redis, owned, and read without trust.
//
// Runs in: the worker; pure C++. Every accessor is total: asking for what is not there gives the
// neutral value, so that code which handles a reply needs no branch for a lying peer.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include <hiredis/hiredis.h>

namespace inventory_lock::redis {

// A view of a reply or of an element of one; valid while the Reply that owns it lives.
class ReplyView {
  public:
    explicit ReplyView(const redisReply *reply = nullptr) : reply_(reply) {}

    bool IsNil() const;
    bool IsError() const;
    bool IsArray() const;
    std::string_view Text() const;             // string, status or error; "" otherwise
    std::optional<int64_t> Integer() const;    // an integer, or a string that is all decimal digits
    size_t size() const;                       // elements of an array; 0 otherwise
    ReplyView operator[](size_t index) const;  // nil beyond the end

  private:
    const redisReply *reply_;
};

struct ReplyDeleter {
    void operator()(redisReply *reply) const noexcept { freeReplyObject(reply); }
};
using ReplyOwner = std::unique_ptr<redisReply, ReplyDeleter>;

}  // namespace inventory_lock::redis
