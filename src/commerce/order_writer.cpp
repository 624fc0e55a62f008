// Calls a shop's function for its own orders: see order_writer.hpp.

#include "commerce/order_writer.hpp"

#include "commerce/sql_text.hpp"

extern "C" {
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <utils/lsyscache.h>
#include <utils/regproc.h>
}

namespace inventory_lock::commerce {

namespace {

constexpr const char *kArguments =
    "(pg_catalog.text,pg_catalog.text,pg_catalog.jsonb,pg_catalog.jsonb)";

// May the caller call it? nullopt when it is not there.
std::optional<bool> IsCallable(const std::string &name) {
    Params params;
    params.Text(name);
    const Rows rows = RunOnce(
        "SELECT f.oid IS NOT NULL,"
        " COALESCE(pg_catalog.has_function_privilege(f.oid, 'EXECUTE'), false)"
        " FROM (SELECT pg_catalog.to_regprocedure($1)::pg_catalog.oid) f (oid)",
        {TEXTOID}, params);
    return rows.Bool(0, 0) ? std::optional<bool>(rows.Bool(0, 1)) : std::nullopt;
}

std::unique_ptr<Statement> BuildWriteOwnOrder(const Binding &binding) {
    return std::make_unique<Statement>(
        "SELECT " + OrderWriterText(binding.order_writer()) + "($1, $2, $3, $4)::pg_catalog.text",
        std::vector<Oid>{TEXTOID, TEXTOID, JSONBOID, JSONBOID});
}

}  // namespace

std::string NameOfOrderWriter(Oid function) {
    const std::string name = pg::Call(
        [function] { return format_procedure_extended(function, FORMAT_PROC_FORCE_QUALIFY); });
    const bool one_value = pg::Call([function] {
        const Oid result = get_func_rettype(function);
        return get_func_prokind(function) == PROKIND_FUNCTION && !get_func_retset(function) &&
               result != VOIDOID && result != TRIGGEROID;
    });
    const std::string arguments = kArguments;
    const bool fits =
        name.size() > arguments.size() &&
        name.compare(name.size() - arguments.size(), arguments.size(), arguments) == 0;
    if (!one_value || !fits) {
        throw pg::SqlError(
            ERRCODE_INVALID_PARAMETER_VALUE,
            "function " + OrderWriterText(name) + " cannot write orders", {},
            "It must take (user_id text, idempotency_key text, lines jsonb, order_data"
            " jsonb) and return the order's id.");
    }
    return name;
}

std::string OrderWriterText(const std::string &name) {
    return name.substr(0, name.rfind('('));
}

bool OrderWriterExists(const std::string &name) {
    return IsCallable(name).has_value();
}

void CheckOrderWriter(const Binding &binding) {
    const std::string &name = binding.order_writer();
    if (name.empty()) {
        return;
    }
    const std::optional<bool> callable = IsCallable(name);
    if (!callable) {
        throw pg::SqlError(pg::kBindingInvalid,
                           "binding \"" + binding.name() + "\": function " + OrderWriterText(name) +
                               " no longer exists",
                           {}, "Create it again, or call inventory_lock.unbind and bind.");
    }
    if (!*callable) {
        throw pg::SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                           "permission denied for function " + OrderWriterText(name), {},
                           "GRANT EXECUTE ON FUNCTION " + OrderWriterText(name) + " TO <role>;");
    }
}

std::string WriteOwnOrder(Binding &binding, const OrderRequest &request, const std::string &lines) {
    Params params;
    params.Text(request.user_id)
        .Text(request.idempotency_key)
        .Value(MakeJsonb(lines))
        .Value(request.data);
    const Rows rows = binding.Plan(PlanId::kWriteOwnOrder, BuildWriteOwnOrder).Run(params);
    const std::string order_id = rows.Text(0, 0);
    if (order_id.empty()) {
        throw pg::SqlError(
            ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "function " + OrderWriterText(binding.order_writer()) + " returned no order id");
    }
    return order_id;
}

}  // namespace inventory_lock::commerce
