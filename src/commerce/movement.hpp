// Writing: a level and its movement, always both, so that no ledger can miss a change.
//
// Runs in: backends. The caller holds the locks and the rows (level_rows.hpp). Plain tables are
// written without plans (direct_write.hpp), others by statements. The set form of these is a part
// of larger statements too (an order, a cancellation): it is offered as the text of two CTEs.

#pragma once

#include "commerce/stock_level.hpp"

namespace inventory_lock::commerce {

// What is common to all movements of one call.
struct Occasion {
    const char *kind = "adjust";
    std::string reason;
    std::optional<std::string> reference_type;
    std::optional<std::string> reference_id;
    std::optional<std::string> actor;
    std::optional<std::string> note;
    std::optional<std::string> request_key;
};

// One change of one level.
struct StockChange {
    Id variant;
    Level level;  // as it was
    int64 delta = 0;
    int64 held_delta = 0;  // written by statements that say so (ChangeTexts::held)
    locking::Grant grant;
};

struct WrittenChange {
    std::string movement_id;
    int64 on_hand = 0;
    std::optional<int64> version;
};

const char *ProtectionName(const locking::Grant &grant);

// Writes one change. Throws IL021 when its request_key turns out to be used by another variant.
WrittenChange WriteChange(Binding &binding, const StockChange &change, const Occasion &occasion);

// The same for a level that has only been seen (SeeLevel). nullopt: nothing was written, for
// somebody has changed or locked the row, or it has to be written by statements. Lock it, and
// decide anew.
std::optional<WrittenChange> WriteIfUnchanged(Binding &binding, const StockChange &change,
                                              const Occasion &occasion);

// Can these changes be written without plans (direct_write.hpp)?
bool CanWriteEachDirectly(Binding &binding, const std::vector<StockChange> &changes);

// Writes them so, one after the other, and no events. Of kind `transfer`, and where only what is
// held changes, each movement gets the kind that its change has; a request_key becomes one for
// each, as in WriteChanges.
std::vector<WrittenChange> WriteEachDirectly(Binding &binding,
                                             const std::vector<StockChange> &changes,
                                             const Occasion &occasion);

// A level that was locked and did not take the update.
pg::SqlError NotWritten(const std::string &variant_id);

// What differs between statements that write several changes: expressions over the alias l of CTE
// level, whose columns are n, variant_id, location_id, delta, fence, protection, on_hand, version.
struct ChangeTexts {
    std::string kind = "$6";
    std::string reference_id = "NULL::pg_catalog.text";
    std::string request_key = "NULL::pg_catalog.text";
    std::string held;  // the parameter with the changes of held, an array; empty: held stays
    std::string from;  // more tables for them (" CROSS JOIN placed p")
};

// The CTEs `change`, `level` (after the change) and `movement` (movement_id, variant_id,
// location_id) over parameters $1 to $10.
std::string ChangeCtes(const Binding &binding, const ChangeTexts &texts);

// Selects what ReadWritten reads.
std::string SelectWritten(const Binding &binding);
std::vector<WrittenChange> ReadWritten(const Rows &rows, const std::vector<StockChange> &changes);

// Writes several changes and nothing else. A request_key becomes one key per movement:
// `<request_key><number of the change>`.
std::vector<WrittenChange> WriteChanges(Binding &binding, const std::vector<StockChange> &changes,
                                        const Occasion &occasion);

// The same for who does not ask what was written.
void WriteChangesOnly(Binding &binding, const std::vector<StockChange> &changes,
                      const Occasion &occasion);

// The types and the values of $1 to $10.
std::vector<Oid> ChangeTypes(const Binding &binding);
Params ChangeParams(const Binding &binding, const std::vector<StockChange> &changes,
                    const Occasion &occasion);

// What ChangeTexts::held asks for.
std::vector<int64> HeldDeltas(const std::vector<StockChange> &changes);

}  // namespace inventory_lock::commerce
