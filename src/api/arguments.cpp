// Reads arguments: see arguments.hpp.

#include "api/arguments.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <tcop/utility.h>
#include <utils/lsyscache.h>
}

namespace inventory_lock::api {

namespace {

std::string ReadText(Datum value) {
    const text *const packed = pg::Call([value] { return DatumGetTextPP(value); });
    return std::string(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

}  // namespace

Datum Arguments::Required(int number, const char *name) const {
    if (IsNull(number)) {
        throw pg::SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                           "argument \"" + std::string(name) + "\" must not be null");
    }
    return fcinfo_->args[number].value;
}

std::string Arguments::Id(int number, const char *name) const {
    const Datum value = Required(number, name);
    FmgrInfo *const function = fcinfo_->flinfo;
    const Oid type = pg::Call([=] { return get_fn_expr_argtype(function, number); });
    if (type == TEXTOID) {
        return ReadText(value);
    }
    return pg::Call([=]() -> const char * {
        Oid output;
        bool variable_length;
        getTypeOutputInfo(type, &output, &variable_length);
        return OidOutputFunctionCall(output, value);
    });
}

std::string Arguments::Text(int number, const char *name) const {
    return ReadText(Required(number, name));
}

std::optional<std::string> Arguments::OptionalText(int number) const {
    return IsNull(number) ? std::nullopt
                          : std::optional<std::string>(ReadText(fcinfo_->args[number].value));
}

std::optional<std::string> Arguments::OptionalKey(int number) const {
    constexpr size_t kMostBytes = 1000;
    auto key = OptionalText(number);
    if (key && key->size() > kMostBytes) {
        throw pg::SqlError(pg::kIdempotencyKeyInvalid, "request_key must not have more than " +
                                                           std::to_string(kMostBytes) + " bytes");
    }
    return key;
}

int64 Arguments::Int8(int number, const char *name) const {
    return DatumGetInt64(Required(number, name));
}

std::optional<int64> Arguments::OptionalInt8(int number) const {
    return IsNull(number) ? std::nullopt
                          : std::optional<int64>(DatumGetInt64(fcinfo_->args[number].value));
}

const Interval *Arguments::OptionalInterval(int number) const {
    return IsNull(number) ? nullptr : DatumGetIntervalP(fcinfo_->args[number].value);
}

void RequirePrimary(const char *function) {
    pg::Call([function] { PreventCommandDuringRecovery(function); });
}

void RequireWritable(const char *function) {
    pg::Call([function] {
        PreventCommandDuringRecovery(function);
        PreventCommandIfReadOnly(function);
    });
}

}  // namespace inventory_lock::api
