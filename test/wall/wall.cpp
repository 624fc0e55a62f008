// Functions that fail in every way C++ and PostgreSQL know, behind the same wall as the
// extension's.
//
// Runs in: backends of the wall's test. Each failure happens below several C++ frames whose locals
// have destructors; a counter tells how many of those locals are alive. After any failure it must
// be zero: then no destructor was jumped over. Test code only, never installed.

#include "pg/boundary.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <executor/spi.h>
#include <utils/fmgrprotos.h>

PG_MODULE_MAGIC;
}

namespace {

namespace pg = inventory_lock::pg;

int64 alive = 0;
int64 made = 0;

// A local with a destructor, and with memory that would leak.
class Counted final {
  public:
    Counted() : text_(1000, 'x') {
        alive++;
        made++;
    }
    ~Counted() { alive--; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;

  private:
    std::string text_;
};

class ThrowsInConstructor final {
  public:
    ThrowsInConstructor() { throw std::runtime_error("a constructor failed"); }

  private:
    Counted member_;
};

void Ereport() {
    pg::Call([] {
        ereport(ERROR, (errcode(MAKE_SQLSTATE('I', 'L', '0', '1', '0')), errmsg("the message"),
                        errdetail("The detail."), errdetail_log("For the log alone."),
                        errhint("The hint."), errcontext("the context"),
                        err_generic_string(PG_DIAG_SCHEMA_NAME, "a schema"),
                        err_generic_string(PG_DIAG_TABLE_NAME, "a table"),
                        err_generic_string(PG_DIAG_COLUMN_NAME, "a column"),
                        err_generic_string(PG_DIAG_DATATYPE_NAME, "a type"),
                        err_generic_string(PG_DIAG_CONSTRAINT_NAME, "a constraint")));
    });
}

void Sleep() {
    pg::Call([] { (void)DirectFunctionCall1(pg_sleep, Float8GetDatum(3600)); });
}

// Runs SQL as a nested statement: what fails in it crosses the wall twice.
void Nested(const char *sql) {
    pg::Call([&] {
        SPI_connect();
        SPI_execute(sql, false, 0);
        SPI_finish();
    });
}

void Fail(const std::string &how, const char *sql) {
    Counted local;
    std::vector<std::unique_ptr<Counted>> several;
    for (int i = 0; i < 3; i++) {
        several.push_back(std::make_unique<Counted>());
    }
    if (how == "runtime_error") {
        throw std::runtime_error("a C++ exception");
    } else if (how == "empty_message") {
        throw std::runtime_error("");
    } else if (how == "bad_alloc") {
        throw std::bad_alloc();
    } else if (how == "int") {
        throw 42;
    } else if (how == "constructor") {
        ThrowsInConstructor failing;
    } else if (how == "sql_error") {
        throw pg::SqlError(pg::kInsufficientStock, "the message 100% %s", "The detail: {\"a\": 1}.",
                           "The hint.");
    } else if (how == "sql_error_bare") {
        throw pg::SqlError(pg::kLockLost, "only a message");
    } else if (how == "ereport") {
        Ereport();
    } else if (how == "ereport_rethrown") {
        try {
            Counted inner;
            Ereport();
        } catch (...) {
            throw;
        }
    } else if (how == "sleep") {
        Sleep();
    } else if (how == "nested") {
        Nested(sql);
    } else if (how == "after_success") {
        const int64 one = pg::Call([] { return DatumGetInt64(Int64GetDatum(1)); });
        Counted inner;
        throw pg::SqlError(pg::kInvalidQuantity,
                           "failed after " + std::to_string(one) + " success");
    }
}

// More frames between the wall and the failure.
void FailBelow(int frames, const std::string &how, const char *sql) {
    Counted local;
    if (frames > 0) {
        FailBelow(frames - 1, how, sql);
    } else {
        Fail(how, sql);
    }
}

}  // namespace

// wall_fail(how text, sql text) → void
IL_FUNCTION(wall_fail) {
    const char *how = text_to_cstring(PG_GETARG_TEXT_PP(0));
    const char *sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
    FailBelow(5, how, sql);
    PG_RETURN_VOID();
}

// wall_alive() → bigint: how many counted objects were not destroyed
IL_FUNCTION(wall_alive) {
    PG_RETURN_INT64(alive);
}

// wall_made() → bigint: how many there have ever been
IL_FUNCTION(wall_made) {
    PG_RETURN_INT64(made);
}
