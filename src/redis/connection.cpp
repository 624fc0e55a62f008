// One socket's input and output; see connection.hpp. Runs in: the worker; pure C++.

#include "redis/connection.hpp"

#include <string.h>  // explicit_bzero
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "redis/pure.hpp"

namespace inventory_lock::redis {

namespace {

constexpr size_t kReadBytes = 16384;
// So that the commands of a handshake, the password among them, need no second allocation.
constexpr size_t kOutputBytes = 16384;

void AppendHeader(std::string &output, char type, size_t number) {
    char header[24] = {type};
    char *end = std::to_chars(header + 1, header + sizeof(header), number).ptr;
    *end++ = '\r';
    *end++ = '\n';
    output.append(header, end);
}

}  // namespace

bool Connection::Open(const Endpoint &endpoint, Trouble &trouble) {
    Close();
    reader_.Reset();
    output_.reserve(kOutputBytes);
    bool connected = false;
    fd_ = BeginConnect(endpoint, connected, trouble);
    if (fd_ < 0) {
        return false;
    }
    state_ = connected ? Connect::kOpen : Connect::kConnecting;
    return true;
}

bool Connection::FinishConnect(Trouble &trouble) {
    const int result = ConnectResult(fd_, trouble);
    if (result > 0) {
        state_ = Connect::kOpen;
    }
    return result >= 0;
}

void Connection::Close() {
    if (fd_ >= 0) {
        close(fd_);
    }
    fd_ = -1;
    state_ = Connect::kClosed;
    write_failed_ = false;
    pending_.clear();
    ForgetOutput();
}

bool Connection::wants_write() const {
    return state_ == Connect::kConnecting ||
           (state_ == Connect::kOpen && written_ < output_.size() && !write_failed_);
}

void Connection::Queue(const Pending &pending, const std::vector<std::string_view> &argv) {
    AppendHeader(output_, '*', argv.size());
    for (const std::string_view argument : argv) {
        AppendHeader(output_, '$', argument.size());
        output_.append(argument).append("\r\n");
    }
    pending_.push_back(pending);
}

void Connection::Write() {
    if (state_ != Connect::kOpen) {
        return;
    }
    while (wants_write()) {
        const ssize_t taken =
            send(fd_, output_.data() + written_, output_.size() - written_, MSG_NOSIGNAL);
        if (taken >= 0) {
            written_ += static_cast<size_t>(taken);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            write_failed_ = true;
        }
    }
    ForgetOutput();
}

Received Connection::Read(Trouble &trouble) {
    char bytes[kReadBytes];
    while (true) {
        const ssize_t count = recv(fd_, bytes, sizeof(bytes), 0);
        if (count > 0) {
            reader_.Feed({bytes, static_cast<size_t>(count)});
            return count < static_cast<ssize_t>(sizeof(bytes)) ? Received::kLast : Received::kBytes;
        }
        if (count == 0) {
            trouble = {TroubleKind::kClosed, "the server closed the connection"};
            return Received::kEnd;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return Received::kNothing;
        }
        if (errno != EINTR) {
            trouble = TroubleOfErrno(errno);
            return Received::kEnd;
        }
    }
}

void Connection::ForgetOutput() {
    explicit_bzero(output_.data(), output_.size());
    output_.clear();
    written_ = 0;
}

}  // namespace inventory_lock::redis
