// SQL from C++: a connection to SPI, statements whose plans are kept, and their results.
//
// Runs in: backends. A Session spans one call of a SQL function. Everything that is allocated
// while it is open (parameters, results) lives in SPI's memory context and goes with it, or with
// the (sub)transaction when an ERROR ends it: no destructor here calls PostgreSQL. Statements run
// with read_only = false, so at READ COMMITTED each one sees what was committed until it began;
// after a lock has been taken nothing else would see what its previous holder wrote.
//
// Statements must qualify every name and operator with its schema: the search_path is the
// caller's. sql_text.hpp builds them so.

#pragma once

#include "pg/boundary.hpp"

extern "C" {
#include <executor/spi.h>
}

namespace inventory_lock::commerce {

// An open connection to SPI.
class Session final {
  public:
    Session();
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    // Ends the session; call it once, when nothing of a result is needed any more.
    void Finish();
};

// The parameters of one execution, in order. The values live in SPI's memory context.
class Params final {
  public:
    Params &Value(Datum value);
    Params &Null();
    Params &Text(std::string_view text);
    Params &Text(const std::string &text) { return Text(std::string_view(text)); }
    Params &Text(const char *text) { return Text(std::string_view(text)); }
    Params &Text(const std::optional<std::string> &text);
    Params &Int8(int64 number);
    Params &Int8(const std::optional<int64> &number);
    Params &TextArray(const std::vector<std::string> &texts);
    Params &TextArray(const std::vector<std::optional<std::string>> &texts);
    Params &Int8Array(const std::vector<int64> &numbers);

    // An array of any element type; an absent value is a NULL element.
    Params &Array(const std::vector<std::optional<Datum>> &elements, Oid element_type);

    Datum *values() const { return const_cast<Datum *>(values_.data()); }
    const char *nulls() const { return nulls_.data(); }

  private:
    std::vector<Datum> values_;
    std::vector<char> nulls_;
};

// The rows a statement returned; valid until the session ends. Columns count from 0.
class Rows final {
  public:
    Rows(SPITupleTable *table, uint64 count) : table_(table), count_(count) {}

    size_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    bool IsNull(size_t row, int column) const;
    std::string Text(size_t row, int column) const;  // a column of type text; NULL reads as ''
    std::optional<std::string> OptionalText(size_t row, int column) const;
    int64 Int8(size_t row, int column) const;  // a column of type bigint; NULL reads as 0
    std::optional<int64> OptionalInt8(size_t row, int column) const;
    bool Bool(size_t row, int column) const;
    // The value as it is, in SPI's memory context; 0 and is_null for NULL.
    Datum Value(size_t row, int column, bool *is_null) const;

  private:
    SPITupleTable *table_;
    uint64 count_;
    // The row that was looked at last, taken apart: its values, and behind them which are NULL.
    mutable std::vector<Datum> values_;
    mutable size_t taken_apart_ = SIZE_MAX;
};

// One SQL statement with a plan that is made at the first run and kept for the session's life.
// PostgreSQL revises the plan itself when the tables change under it; who changes the text must
// make a new Statement and Free() the old one when nobody runs it any more.
class Statement final {
  public:
    Statement(std::string sql, std::vector<Oid> types)
        : sql_(std::move(sql)), types_(std::move(types)) {}
    Statement(const Statement &) = delete;
    Statement &operator=(const Statement &) = delete;

    void Prepare();
    // `receiver` hands the rows on to SPI's own functions; nullptr: SPI receives them.
    Rows Run(const Params &params, DestReceiver *receiver = nullptr);
    // The same with what is committed now, also where the transaction's snapshot is older.
    Rows RunOnLatest(const Params &params);
    void Free();

  private:
    std::string sql_;
    std::vector<Oid> types_;
    SPIPlanPtr plan_ = nullptr;
};

// Runs a statement once, without keeping a plan.
Rows RunOnce(const std::string &sql, const std::vector<Oid> &types = {}, const Params &params = {});

// Runs a command that needs no plan (DDL).
void RunCommand(const std::string &sql);

Datum TextDatum(std::string_view text);

}  // namespace inventory_lock::commerce
