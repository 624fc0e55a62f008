// The arguments of a SQL function, by number and name. A required one that is NULL is 22004.
//
// Runs in: backends. Functions are not STRICT: a NULL must be an error with a name, never a silent
// NULL result. Ids come as bigint, uuid, text or whatever else an overload takes; they become text
// through their type's output function.

#pragma once

#include "pg/boundary.hpp"

extern "C" {
#include <utils/timestamp.h>
}

namespace inventory_lock::api {

class Arguments final {
  public:
    explicit Arguments(FunctionCallInfo fcinfo) : fcinfo_(fcinfo) {}

    bool IsNull(int number) const { return fcinfo_->args[number].isnull; }

    std::string Id(int number, const char *name) const;
    std::string Text(int number, const char *name) const;
    std::optional<std::string> OptionalText(int number) const;
    // A request_key: IL022 when no index could hold it.
    std::optional<std::string> OptionalKey(int number) const;
    int64 Int8(int number, const char *name) const;
    std::optional<int64> OptionalInt8(int number) const;
    const Interval *OptionalInterval(int number) const;  // nullptr for NULL
    Datum Required(int number, const char *name) const;

  private:
    FunctionCallInfo fcinfo_;
};

// Refuses to go on where nothing can be written: 25006 on a standby and in a read-only
// transaction. `function` is the SQL function's name.
void RequireWritable(const char *function);

// Refuses to go on on a standby, which has no worker: 25006.
void RequirePrimary(const char *function);

}  // namespace inventory_lock::api
