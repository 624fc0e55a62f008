// The wall between C++ and PostgreSQL.
//
// Runs in: every process. Two crossings, and no others:
//
//   Boundary(body)  PostgreSQL calls C++. Catches everything, copies it into plain data, leaves
//                   the catch block, and only then raises: a longjmp out of a catch block would
//                   leak the exception, one over a live destructor would skip it.
//   Call(body)      C++ calls PostgreSQL. An ERROR inside becomes a C++ exception (PgError) that
//                   carries the whole ErrorData, so SQLSTATE, DETAIL and HINT survive.
//
// Rules. The body given to Call() holds only trivially destructible locals, for an ERROR jumps
// over them: the guard must sit deeper than any object with a destructor. Nobody swallows a
// PgError (locks, buffers and snapshots would stay half open): it goes on to the boundary. A
// destructor never calls Call(). A FATAL exit does not unwind: clean-up that matters belongs to
// transaction and exit callbacks.

#pragma once

#include "pg/errors.hpp"
#include "pg/postgres.hpp"

namespace inventory_lock::pg {

// A PostgreSQL error crossing C++ frames. edata lives in the memory context that was current at
// the Call(); it is nullptr when not even the copy of the error found memory.
struct PgError final {
    ErrorData *edata;
};

namespace detail {

// What is left of an exception once its catch block has been left: plain data.
struct Failure {
    ErrorData *edata = nullptr;
    int sqlstate = 0;
    const char *message = nullptr;
    const char *detail = nullptr;
    const char *hint = nullptr;
};

// Copies the pending error into `context` and clears the error state. Returns nullptr when the
// copy itself ran out of memory. Never raises.
ErrorData *TakePendingError(MemoryContext context);

// Fills a Failure from the exception being handled. Call inside a catch block only; never raises.
Failure DescribeCurrentException() noexcept;

// Raises the ERROR. Call with no C++ object alive that has a destructor.
[[noreturn]] void Raise(const Failure &failure);

// Restores PostgreSQL's two error stacks when a Call() ends, also by a C++ exception.
class ErrorStacks final {
  public:
    ErrorStacks() : exception_stack_(PG_exception_stack), context_stack_(error_context_stack) {}
    ~ErrorStacks() {
        PG_exception_stack = exception_stack_;
        error_context_stack = context_stack_;
    }
    ErrorStacks(const ErrorStacks &) = delete;
    ErrorStacks &operator=(const ErrorStacks &) = delete;

  private:
    sigjmp_buf *exception_stack_;
    ErrorContextCallback *context_stack_;
};

}  // namespace detail

// Runs `body`, which may raise a PostgreSQL ERROR, and returns its result. Throws PgError.
template <typename Body>
auto Call(Body &&body) -> decltype(body()) {
    using Result = decltype(body());
    static_assert(std::is_void_v<Result> || std::is_trivially_destructible_v<Result>,
                  "an ERROR would skip the result's destructor");
    const MemoryContext context = CurrentMemoryContext;
    detail::ErrorStacks stacks;
    sigjmp_buf jump;
    if (sigsetjmp(jump, 0) == 0) {
        PG_exception_stack = &jump;
        return body();
    }
    throw PgError{detail::TakePendingError(context)};
}

// Runs `body`, C++ code that may throw anything, on behalf of PostgreSQL; raises what it threw.
template <typename Body>
auto Boundary(Body &&body) -> decltype(body()) {
    detail::Failure failure;
    try {
        return body();
    } catch (...) {
        failure = detail::DescribeCurrentException();
    }
    detail::Raise(failure);
}

}  // namespace inventory_lock::pg

// Defines the SQL-callable C function `name`, whose body is C++ behind the wall:
//   IL_FUNCTION(inventory_lock_status) { ... uses fcinfo ...; return datum; }
#define IL_FUNCTION(name)                                                         \
    static Datum name##_body(FunctionCallInfo fcinfo);                            \
    extern "C" {                                                                  \
    PG_FUNCTION_INFO_V1(name);                                                    \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS) {                                    \
        return inventory_lock::pg::Boundary([=] { return name##_body(fcinfo); }); \
    }                                                                             \
    }                                                                             \
    static Datum name##_body([[maybe_unused]] FunctionCallInfo fcinfo)
