// Takes shipped goods back: see returns.hpp.

#include "commerce/returns.hpp"

#include "commerce/cancellation.hpp"
#include "commerce/outbox.hpp"

extern "C" {
#include <catalog/pg_type.h>
}

namespace inventory_lock::commerce {

namespace {

// The request_key of a movement: `return:<order>:<key>:<number of the change>/<units>`.
std::optional<std::string> KeyPrefixOf(const OrderChangeRequest &request, const Order &order) {
    const auto &request_key = request.occasion.request_key;
    return request_key
               ? std::optional<std::string>("return:" + order.id.text + ":" + *request_key + ":")
               : std::nullopt;
}

std::unique_ptr<Statement> BuildWriteReturn(const Binding &binding) {
    ChangeTexts texts;
    texts.reference_id = "$11::pg_catalog.text";
    texts.request_key =
        "$14{||}l.n::pg_catalog.text{||}'/'{||}($15)[l.n::pg_catalog.int4]::pg_catalog.text";
    const std::string sql = "WITH " + ChangeCtes(binding, texts) + ", line AS (" +
                            AddToLines(binding, "returned", 11) + ")" + SelectWritten(binding);
    std::vector<Oid> types = ChangeTypes(binding);
    const std::vector<Oid> own_types = {OrderIdType(binding), INT8ARRAYOID, INT8ARRAYOID, TEXTOID,
                                        INT8ARRAYOID};
    types.insert(types.end(), own_types.begin(), own_types.end());
    return std::make_unique<Statement>(sql, types);
}

std::unique_ptr<Statement> BuildFindReturn(const Binding &binding) {
    return std::make_unique<Statement>(
        binding.Sql("SELECT (s.{movement.variant_id})::pg_catalog.text,"
                    " (s.{movement.request_key})::pg_catalog.text"
                    " FROM {movement} s WHERE s.{movement.reference_type}{=}'order'"
                    " AND s.{movement.reference_id}{=}$1"
                    " AND pg_catalog.starts_with(s.{movement.request_key}, $2)"),
        std::vector<Oid>{binding.column(TableId::kMovement, "reference_id").type, TEXTOID});
}

// Did an earlier call with the same request_key take something back? Then how much.
bool FindEarlierReturn(Binding &binding, const OrderChangeRequest &request,
                       OrderChangeAnswer *answer) {
    const auto prefix = KeyPrefixOf(request, answer->order);
    if (!prefix) {
        return false;
    }
    const Column &reference = binding.column(TableId::kMovement, "reference_id");
    Params params;
    params.Value(ParseId(reference, answer->order.id.text, "order_id").value).Text(prefix);
    const Rows rows = binding.Plan(PlanId::kFindReturn, BuildFindReturn).Run(params);
    UnitsByVariant earlier;
    for (size_t i = 0; i < rows.size(); i++) {
        const std::string rest = rows.Text(i, 1).substr(prefix->size());
        const size_t slash = rest.find('/');
        // Anything else is of a key that begins with ours.
        if (slash != std::string::npos &&
            rest.find_first_not_of("0123456789/") == std::string::npos) {
            const int64 units = std::stoll(rest.substr(slash + 1));
            answer->units += units;
            earlier[rows.Text(i, 0)] += units;
        }
    }
    if (!earlier.empty()) {
        RequireSameUnits(request, answer->order, earlier);
    }
    return !earlier.empty();
}

void WriteReturn(Binding &binding, const OrderChangeRequest &request, OrderChangeAnswer *answer) {
    Params params = ChangeParams(binding, answer->changes, request.occasion);
    AddChosenLines(answer->order, &params);
    params.Text(KeyPrefixOf(request, answer->order)).Int8Array(answer->quantities);
    const Rows rows = binding.Plan(PlanId::kWriteReturn, BuildWriteReturn).Run(params);
    answer->written = ReadWritten(rows, answer->changes);
    WriteEvents(binding, answer->changes);
    for (OrderLine &line : answer->order.lines) {
        line.returned += line.chosen;
    }
}

}  // namespace

std::shared_ptr<Binding> OpenForReturning(const std::string &binding) {
    std::shared_ptr<Binding> opened = OpenForCancelling(binding);
    opened->column(TableId::kOrderLine, "returned");
    return opened;
}

OrderChangeAnswer ReturnOrder(Binding &binding, const OrderChangeRequest &request,
                              locking::WaitBudget &budget) {
    OrderChangeAnswer answer;
    answer.order = LockOrder(binding, request.order_id, budget);
    answer.redis = answer.order.grant.redis;
    if (FindEarlierReturn(binding, request, &answer)) {
        return Replayed(answer);
    }
    UnitChoice choice = request.choice;
    choice.open = &OrderLine::Returnable;
    answer.units = ChooseUnits(choice, &answer.order);
    if (answer.units == 0) {
        if (!choice.lines && !AnyLine(answer.order, &OrderLine::returned)) {
            throw pg::SqlError(
                pg::kOrderNotCancellable,
                "nothing of order \"" + answer.order.id.text + "\" has been fulfilled");
        }
        return Replayed(answer);
    }
    LockChosenLevels(binding, request, &answer, budget);
    WriteReturn(binding, request, &answer);
    return answer;
}

}  // namespace inventory_lock::commerce
