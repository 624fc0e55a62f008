// Bytes of a peer → replies, within bounds.
//
// Runs in: the worker; pure C++. hiredis' reader does the parsing; on its own it would buffer a
// bulk string of 512 MB, and allocate (and later walk) eight gigabytes of pointers for the fourteen
// bytes
// "*1000000000\r\n". So three things are bounded here: the bytes of one reply; the elements that
// its array headers announce, which cannot be more than a third of its bytes (the shortest element,
// "+\r\n", has three); and how deep arrays lie in arrays, for they are freed by recursion. And only
// RESP2 is understood: hiredis takes RESP3 too since 1.0, where a push would pass for a reply.

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
    // What the replaced constructors need, reached through the reader's privdata.
    struct Budget {
        redisReplyObjectFunctions functions = {};  // ours
        redisReplyObjectFunctions hiredis = {};
        size_t elements_left = 0;
        const char *refused = "";  // why a constructor made nothing
    };
    struct ReaderDeleter {
        void operator()(redisReader *reader) const noexcept { redisReaderFree(reader); }
    };

    // Arguments differ from version to version: hiredis counts elements by int before 1.0, by
    // size_t since.
    template <typename Count>
    static void *CreateArray(const redisReadTask *task, Count elements);
    template <auto Member, typename... Arguments>
    static void *Create(const redisReadTask *task, Arguments... arguments);
    static bool Accept(const redisReadTask *task);
    size_t max_elements() const { return max_reply_bytes_ / 3; }

    const size_t max_reply_bytes_;
    Budget budget_;
    size_t fed_bytes_ = 0;  // since the last complete reply
    bool broken_ = false;
    std::unique_ptr<redisReader, ReaderDeleter> reader_;
};

}  // namespace inventory_lock::redis
