// The out-of-line half of the wall: see boundary.hpp for the rules.

#include "pg/boundary.hpp"

namespace inventory_lock::pg::detail {

namespace {

// Copies text for a Failure without any way to raise. nullptr when empty or out of memory.
const char *CopyText(const std::string &text) noexcept {
    if (text.empty()) {
        return nullptr;
    }
    auto *copy = static_cast<char *>(
        MemoryContextAllocExtended(CurrentMemoryContext, text.size() + 1, MCXT_ALLOC_NO_OOM));
    if (copy != nullptr) {
        memcpy(copy, text.c_str(), text.size() + 1);
    }
    return copy;
}

}  // namespace

ErrorData *TakePendingError(MemoryContext context) {
    MemoryContextSwitchTo(context);
    sigjmp_buf *const outer = PG_exception_stack;
    sigjmp_buf jump;
    ErrorData *volatile edata = nullptr;
    if (sigsetjmp(jump, 0) == 0) {
        PG_exception_stack = &jump;
        edata = CopyErrorData();
    } else {
        MemoryContextSwitchTo(context);
    }
    PG_exception_stack = outer;
    FlushErrorState();
    return edata;
}

Failure DescribeCurrentException() noexcept {
    Failure failure;
    try {
        throw;
    } catch (const PgError &error) {
        failure.edata = error.edata;
        failure.sqlstate = ERRCODE_OUT_OF_MEMORY;
        failure.message = "out of memory";
    } catch (const SqlError &error) {
        failure.sqlstate = error.sqlstate();
        failure.message = CopyText(error.message());
        failure.detail = CopyText(error.detail());
        failure.hint = CopyText(error.hint());
    } catch (const std::bad_alloc &) {
        failure.sqlstate = ERRCODE_OUT_OF_MEMORY;
        failure.message = "out of memory";
    } catch (const std::exception &error) {
        failure.sqlstate = ERRCODE_INTERNAL_ERROR;
        failure.message = CopyText(error.what());
    } catch (...) {
        failure.sqlstate = ERRCODE_INTERNAL_ERROR;
    }
    if (failure.message == nullptr) {
        failure.message = "unexpected failure in inventory_lock";
    }
    return failure;
}

void Raise(const Failure &failure) {
    if (failure.edata != nullptr) {
        ReThrowError(failure.edata);
    }
    ereport(ERROR, (errcode(failure.sqlstate), errmsg_internal("%s", failure.message),
                    failure.detail != nullptr ? errdetail_internal("%s", failure.detail) : 0,
                    failure.hint != nullptr ? errhint("%s", failure.hint) : 0));
    pg_unreachable();
}

}  // namespace inventory_lock::pg::detail
