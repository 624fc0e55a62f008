// What functions return and say: keys as text, and the rows of a set-returning function, built
// column by column.
//
// Runs in: backends. Begin() before the first row; Put() copies what it is given, so that values
// in SPI's memory may go afterwards.

#pragma once

#include "pg/boundary.hpp"

extern "C" {
#include <funcapi.h>
}

namespace inventory_lock::api {

// A key as text of this database. Other clients, and databases of another encoding, have keys that
// are none here: of those every byte that is no printable ASCII becomes '?'.
std::string Shown(std::string key);

// One row. Columns are added in order.
class Row final {
  public:
    Row &Value(Datum value);
    Row &Null();
    Row &Text(std::string_view text);
    Row &Text(const std::optional<std::string> &text);
    Row &Text(const std::string &text) { return Text(std::string_view(text)); }
    Row &Text(const char *text) { return Text(std::string_view(text)); }
    Row &Int8(int64 number);
    Row &Int8(const std::optional<int64> &number);
    Row &Float8(double number);
    Row &Bool(bool value);

    size_t size() const { return values_.size(); }
    Datum *values() { return values_.data(); }
    bool *nulls() { return nulls_.get(); }

  private:
    static constexpr size_t kMaxColumns = 32;
    void Add(Datum value, bool is_null);

    std::vector<Datum> values_;
    std::unique_ptr<bool[]> nulls_{new bool[kMaxColumns]};
};

class Result final {
  public:
    explicit Result(FunctionCallInfo fcinfo);
    void Put(Row &row);

  private:
    ReturnSetInfo *info_;
};

}  // namespace inventory_lock::api
