// Loaded before the C library by a server of the bench: every flush of a file takes SLOW_FLUSH_US
// microseconds longer. It stands for a disk on which a flush takes that time; the processor is free
// meanwhile.

#include <sys/syscall.h>
#include <unistd.h>
#include <cstdlib>
#include <ctime>

extern "C" int fdatasync(int fd) {
    static const long us = [] {
        const char *text = getenv("SLOW_FLUSH_US");
        return text != nullptr ? strtol(text, nullptr, 10) : 0;
    }();
    const int result = static_cast<int>(syscall(SYS_fdatasync, fd));
    const timespec pause = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&pause, nullptr);
    return result;
}
