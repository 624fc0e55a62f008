// SPI behind the wall: see spi.hpp for the rules. Every call into PostgreSQL that may raise stands
// in a pg::Call() whose body holds plain pointers and numbers only.

#include "commerce/spi.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/pg_type.h>
#include <nodes/parsenodes.h>
#include <utils/array.h>
#include <utils/lsyscache.h>
#include <utils/snapmgr.h>
}

namespace inventory_lock::commerce {

namespace {

// SPI answers with codes; any that is negative means a mistake in this extension.
void CheckSpi(int code, const char *what) {
    if (code < 0) {
        elog(ERROR, "%s failed: %s", what, SPI_result_code_string(code));
    }
}

}  // namespace

Session::Session() {
    pg::Call([] { CheckSpi(SPI_connect(), "SPI_connect"); });
}

void Session::Finish() {
    pg::Call([] { CheckSpi(SPI_finish(), "SPI_finish"); });
}

Datum TextDatum(std::string_view text) {
    return pg::Call([text] {
        return PointerGetDatum(
            cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
    });
}

Params &Params::Value(Datum value) {
    values_.push_back(value);
    nulls_.push_back(' ');
    return *this;
}

Params &Params::Null() {
    values_.push_back(static_cast<Datum>(0));
    nulls_.push_back('n');
    return *this;
}

Params &Params::Text(std::string_view text) {
    return Value(TextDatum(text));
}

Params &Params::Text(const std::optional<std::string> &text) {
    return text ? Text(std::string_view(*text)) : Null();
}

Params &Params::Int8(int64 number) {
    return Value(Int64GetDatum(number));
}

Params &Params::Int8(const std::optional<int64> &number) {
    return number ? Int8(*number) : Null();
}

Params &Params::TextArray(const std::vector<std::string> &texts) {
    std::vector<std::optional<Datum>> elements;
    elements.reserve(texts.size());
    for (const std::string &text : texts) {
        elements.emplace_back(TextDatum(text));
    }
    return Array(elements, TEXTOID);
}

Params &Params::TextArray(const std::vector<std::optional<std::string>> &texts) {
    std::vector<std::optional<Datum>> elements;
    elements.reserve(texts.size());
    for (const auto &text : texts) {
        elements.push_back(text ? std::optional<Datum>(TextDatum(*text)) : std::nullopt);
    }
    return Array(elements, TEXTOID);
}

Params &Params::Int8Array(const std::vector<int64> &numbers) {
    std::vector<std::optional<Datum>> elements;
    elements.reserve(numbers.size());
    for (const int64 number : numbers) {
        elements.emplace_back(Int64GetDatum(number));
    }
    return Array(elements, INT8OID);
}

Params &Params::Array(const std::vector<std::optional<Datum>> &elements, Oid element_type) {
    std::vector<Datum> datums;
    std::unique_ptr<bool[]> nulls(new bool[elements.size() + 1]);
    datums.reserve(elements.size());
    for (size_t i = 0; i < elements.size(); i++) {
        datums.push_back(elements[i].value_or(static_cast<Datum>(0)));
        nulls[i] = !elements[i].has_value();
    }
    int count = static_cast<int>(elements.size());
    Datum *const first = datums.data();
    bool *const first_null = nulls.get();
    return Value(pg::Call([=]() mutable {
        int16 length;
        bool by_value;
        char align;
        int lower_bound = 1;
        get_typlenbyvalalign(element_type, &length, &by_value, &align);
        return PointerGetDatum(construct_md_array(first, first_null, 1, &count, &lower_bound,
                                                  element_type, length, by_value, align));
    }));
}

bool Rows::IsNull(size_t row, int column) const {
    bool is_null;
    Value(row, column, &is_null);
    return is_null;
}

Datum Rows::Value(size_t row, int column, bool *is_null) const {
    const TupleDesc columns = table_->tupdesc;
    const auto count = static_cast<size_t>(columns->natts);
    if (row != taken_apart_) {
        values_.resize(count + count / sizeof(Datum) + 1);
        Datum *const values = values_.data();
        auto *const nulls = reinterpret_cast<bool *>(values + count);
        const HeapTuple tuple = table_->vals[row];
        pg::Call([=] { heap_deform_tuple(tuple, columns, values, nulls); });
        taken_apart_ = row;
    }
    *is_null = reinterpret_cast<const bool *>(values_.data() + count)[column];
    return *is_null ? static_cast<Datum>(0) : values_[static_cast<size_t>(column)];
}

std::optional<std::string> Rows::OptionalText(size_t row, int column) const {
    bool is_null;
    const Datum value = Value(row, column, &is_null);
    if (is_null) {
        return std::nullopt;
    }
    const auto *packed = reinterpret_cast<const text *>(DatumGetPointer(value));
    if (VARATT_IS_EXTENDED(packed) && !VARATT_IS_SHORT(packed)) {
        packed = pg::Call([value] { return DatumGetTextPP(value); });
    }
    return std::string(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

std::string Rows::Text(size_t row, int column) const {
    return OptionalText(row, column).value_or(std::string());
}

std::optional<int64> Rows::OptionalInt8(size_t row, int column) const {
    bool is_null;
    const Datum value = Value(row, column, &is_null);
    return is_null ? std::nullopt : std::optional<int64>(DatumGetInt64(value));
}

int64 Rows::Int8(size_t row, int column) const {
    return OptionalInt8(row, column).value_or(0);
}

bool Rows::Bool(size_t row, int column) const {
    bool is_null;
    const Datum value = Value(row, column, &is_null);
    return !is_null && DatumGetBool(value);
}

void Statement::Prepare() {
    if (plan_ != nullptr) {
        return;
    }
    const char *const sql = sql_.c_str();
    Oid *const types = types_.data();
    const int count = static_cast<int>(types_.size());
    plan_ = pg::Call([=] {
        // Every statement here finds its rows by key; a plan for each value would cost more than it
        // saves.
        const SPIPlanPtr plan = SPI_prepare_cursor(sql, count, types, CURSOR_OPT_GENERIC_PLAN);
        if (plan == nullptr) {
            CheckSpi(SPI_result, "SPI_prepare_cursor");
        }
        CheckSpi(SPI_keepplan(plan), "SPI_keepplan");
        return plan;
    });
}

Rows Statement::Run(const Params &params, DestReceiver *receiver) {
    Prepare();
    Datum *const values = params.values();
    const char *const nulls = params.nulls();
    const SPIPlanPtr plan = plan_;
    const Oid *const types = types_.data();
    const int count = static_cast<int>(types_.size());
    pg::Call([=] {
        if (receiver == nullptr) {
            CheckSpi(SPI_execute_plan(plan, values, nulls, false, 0), "SPI_execute_plan");
            return;
        }
        SPIExecuteOptions options = {};
        options.params = makeParamList(count);
        for (int i = 0; i < count; i++) {
            options.params->params[i] = {values[i], nulls[i] == 'n', PARAM_FLAG_CONST, types[i]};
        }
        options.dest = receiver;
        CheckSpi(SPI_execute_plan_extended(plan, &options), "SPI_execute_plan_extended");
    });
    return Rows(SPI_tuptable, SPI_processed);
}

Rows Statement::RunOnLatest(const Params &params) {
    Prepare();
    Datum *const values = params.values();
    const char *const nulls = params.nulls();
    const SPIPlanPtr plan = plan_;
    pg::Call([=] {
        CheckSpi(SPI_execute_snapshot(plan, values, nulls, GetLatestSnapshot(), InvalidSnapshot,
                                      false, false, 0),
                 "SPI_execute_snapshot");
    });
    return Rows(SPI_tuptable, SPI_processed);
}

void Statement::Free() {
    if (plan_ != nullptr) {
        const SPIPlanPtr plan = std::exchange(plan_, nullptr);
        pg::Call([plan] { CheckSpi(SPI_freeplan(plan), "SPI_freeplan"); });
    }
}

Rows RunOnce(const std::string &sql, const std::vector<Oid> &types, const Params &params) {
    const char *const text = sql.c_str();
    Oid *const argument_types = const_cast<Oid *>(types.data());
    const int count = static_cast<int>(types.size());
    Datum *const values = params.values();
    const char *const nulls = params.nulls();
    pg::Call([=] {
        CheckSpi(SPI_execute_with_args(text, count, argument_types, values, nulls, false, 0),
                 "SPI_execute_with_args");
    });
    return Rows(SPI_tuptable, SPI_processed);
}

void RunCommand(const std::string &sql) {
    const char *const text = sql.c_str();
    pg::Call([text] { CheckSpi(SPI_execute(text, false, 0), "SPI_execute"); });
}

}  // namespace inventory_lock::commerce
