// Bytes of a peer → replies, within bounds.
//
// Runs in: the worker; pure C++. hiredis' reader does the parsing; on its own it would buffer a
// bulk string of 512 MB, and allocate (and later walk) eight gigabytes of pointers for the fourteen
// bytes
// "*1000000000\r\n". So two things are bounded here: the bytes of one reply, and the elements that
// its array headers announce, which cannot be more than a third of its bytes (the shortest element,
// "+\r\n", has three).

#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include <hiredis/hiredis.h>

#include "redis/reply.hpp"
#include "redis/trouble.hpp"

namespace inventory_lock::redis {

class ReplyReader {
  public:
    explicit ReplyReader(size_t max_reply_bytes);
    ReplyReader(const ReplyReader &) = delete;
    ReplyReader &operator=(const ReplyReader &) = delete;

    // Adds bytes of the peer. Whether they were too many shows in Take().
    void Feed(std::string_view bytes);

    // The next complete reply, or null when there is none. Null with a trouble of kind protocol:
    // the stream makes no sense, or too much, and this reader is of no more use.
    ReplyOwner Take(Trouble &trouble);

    // Forgets everything: a new connection begins.
    void Reset();

  private:
    // What the replaced array constructor needs, reached through the reader's privdata.
    struct Budget {
        redisReplyObjectFunctions functions = {};
        decltype(redisReplyObjectFunctions::createArray) create_array = nullptr;
        size_t elements_left = 0;
    };
    struct ReaderDeleter {
        void operator()(redisReader *reader) const noexcept { redisReaderFree(reader); }
    };

    // hiredis counts elements by int before 1.0, by size_t since.
    template <typename Count>
    static void *CreateArray(const redisReadTask *task, Count elements);
    size_t max_elements() const { return max_reply_bytes_ / 3; }

    const size_t max_reply_bytes_;
    Budget budget_;
    size_t fed_bytes_ = 0;  // since the last complete reply
    bool broken_ = false;
    std::unique_ptr<redisReader, ReaderDeleter> reader_;
};

}  // namespace inventory_lock::redis
