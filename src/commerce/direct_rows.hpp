// Rows of bound tables, written without plans (direct_table.hpp): which columns they have, and
// their values.
//
// Runs in: backends, while an SPI Session is open. A column is written so when its type is one that
// the value has without a cast, but for limits of length and precision, which are applied as an
// assignment does; domains are left to statements.

#pragma once

#include "commerce/direct_table.hpp"
#include "commerce/sql_text.hpp"

namespace inventory_lock::commerce {

// What a role's value is.
enum class ValueKind : uint8 {
    kText,
    kInteger,  // 2, 4 or 8 bytes
    kNumeric,
    kJsonb,
    kTime,     // timestamptz
    kVariant,  // as the stock levels have their variants
    kOrder,    // as the orders have their ids
    kOwn,      // whatever the column has: the value is made for it
};

struct WrittenRole {
    const char *role;
    ValueKind kind;
};

// Makes the rows of a table ready. `rows->table` is nullptr afterwards when they have to be written
// by statements. `key`: a foreign key that every row satisfies anyway (see PrepareDirectTable).
void PrepareRows(const Binding &binding, TableId table, DirectOperation operation,
                 const WrittenRole *roles, size_t count, DirectRows *rows,
                 const SatisfiedKey *key = nullptr);
void ForgetRows(DirectRows *rows);

// Can the caller's rows of this table be written so?
bool CanWriteRows(const Binding &binding, TableId table, const DirectRows &rows);

// The values of one row, as they are put together; columns count as the roles do.
class RowValues final {
  public:
    explicit RowValues(const DirectRows &rows) : rows_(rows) {}

    void Text(size_t column, std::optional<std::string_view> text);
    void Int8(size_t column, int64 number);
    void Numeric(size_t column, const std::optional<std::string> &number);
    void Now(size_t column);
    void Value(size_t column, Datum value) { Add(column, value, false); }

    bool good() const { return good_; }  // every number fits into its column
    const DirectValue *values() const { return values_; }
    int count() const { return count_; }

  private:
    void Add(size_t column, Datum value, bool is_null);

    const DirectRows &rows_;
    DirectValue values_[DirectRows::kMostColumns];
    int count_ = 0;
    bool good_ = true;
};

// The text of an id that was written.
std::string TextOfId(Oid type, Datum value);

}  // namespace inventory_lock::commerce
