// Injection points; see injection.hpp. Runs in: every process of a test build.

#include "pg/injection.hpp"

#ifdef IL_INJECTION

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "pg/boundary.hpp"

namespace inventory_lock::pg {

namespace {

constexpr long kPollUs = 2000;

// First word of the point's file; "" when there is none.
std::string Wanted(const std::string &path) {
    char word[16] = "";
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        const ssize_t bytes = read(fd, word, sizeof(word) - 1);
        word[bytes > 0 ? bytes : 0] = '\0';
        close(fd);
    }
    const std::string text = word;
    return text.substr(0, text.find_first_of(" \n"));
}

}  // namespace

void ReachInjectionPoint(const char *name) {
    const std::string path = std::string(DataDir) + "/injection/" + name;
    const int reached = open((path + ".reached").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (reached >= 0) {
        const std::string line = std::to_string(getpid()) + "\n";
        (void)!write(reached, line.data(), line.size());
        close(reached);
    }
    for (std::string wanted = Wanted(path); wanted == "wait"; wanted = Wanted(path)) {
        usleep(kPollUs);
        if (InterruptHoldoffCount == 0 && CritSectionCount == 0) {
            Call([] { CHECK_FOR_INTERRUPTS(); });
        }
    }
    const std::string wanted = Wanted(path);
    const bool ends = wanted == "kill" || wanted == "exit";
    if (ends && unlink(path.c_str()) != 0) {
        return;  // another process was faster
    }
    if (wanted == "kill") {
        kill(getpid(), SIGKILL);
    } else if (wanted == "stop") {
        kill(getpid(), SIGSTOP);
    } else if (wanted == "exit") {
        Call([] { proc_exit(1); });
    } else if (wanted == "error") {
        throw SqlError(ERRCODE_INTERNAL_ERROR, std::string("injected at ") + name);
    }
}

}  // namespace inventory_lock::pg

#endif
