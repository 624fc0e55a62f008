// Builds result rows: see result.hpp.

#include "api/result.hpp"

extern "C" {
#include <mb/pg_wchar.h>
}

namespace inventory_lock::api {

std::string Shown(std::string key) {
    const char *bytes = key.c_str();
    const int length = static_cast<int>(key.size());
    if (!pg::Call([&] { return pg_verifymbstr(bytes, length, true); })) {
        std::replace_if(
            key.begin(), key.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    }
    return key;
}

void Row::Add(Datum value, bool is_null) {
    if (values_.size() == kMaxColumns) {
        throw std::length_error("a result row has too many columns");
    }
    nulls_[values_.size()] = is_null;
    values_.push_back(value);
}

Row &Row::Value(Datum value) {
    Add(value, false);
    return *this;
}

Row &Row::Null() {
    Add(static_cast<Datum>(0), true);
    return *this;
}

Row &Row::Text(std::string_view text) {
    return Value(pg::Call([text] {
        return PointerGetDatum(
            cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
    }));
}

Row &Row::Text(const std::optional<std::string> &text) {
    return text ? Text(std::string_view(*text)) : Null();
}

Row &Row::Int8(int64 number) {
    return Value(Int64GetDatum(number));
}

Row &Row::Int8(const std::optional<int64> &number) {
    return number ? Int8(*number) : Null();
}

Row &Row::Float8(double number) {
    return Value(Float8GetDatum(number));
}

Row &Row::Bool(bool value) {
    return Value(BoolGetDatum(value));
}

Result::Result(FunctionCallInfo fcinfo)
    : info_(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo)) {
    // The caller's description of the rows saves making one from the catalogue.
    const bits32 flags = info_->expectedDesc != nullptr ? MAT_SRF_USE_EXPECTED_DESC : 0;
    pg::Call([=] { InitMaterializedSRF(fcinfo, flags); });
}

void Result::Put(Row &row) {
    if (row.size() != static_cast<size_t>(info_->setDesc->natts)) {
        throw std::logic_error("a result row has " + std::to_string(row.size()) +
                               " columns, its function " + std::to_string(info_->setDesc->natts));
    }
    ReturnSetInfo *const info = info_;
    Datum *const values = row.values();
    bool *const nulls = row.nulls();
    pg::Call([=] { tuplestore_putvalues(info->setResult, info->setDesc, values, nulls); });
}

}  // namespace inventory_lock::api
