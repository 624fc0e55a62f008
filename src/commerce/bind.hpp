// bind, unbind, check_binding: tables that exist already, put to use as they are.
//
// Runs in: backends. A binding is a row of inventory_lock.binding. It is written first and read
// back, so that what every later call would complain of (IL051) is found at once; then the tables
// are looked at for what later calls cannot see. Nothing in a bound table depends on the extension.
// What a schema lacks is made beside the stock table, owned by the caller.

#pragma once

#include "commerce/inspection.hpp"
#include "commerce/json.hpp"

namespace inventory_lock::commerce {

struct BindRequest {
    std::string name;
    Oid stock_level = InvalidOid;
    std::array<Oid, kTablesOfBind> tables{};  // InvalidOid: none
    Json columns;                             // {"<table>": {"<role>": "<column>" or null}}
    // Arguments of their own: role of stock_level and column.
    std::vector<std::pair<std::string, std::string>> stock_columns;
    bool lock_per_location = false;
    Oid order_writer = InvalidOid;
    bool create_missing = true;  // tables beside the stock table; one for movements in any case
};

// Throws 42710 (the name is bound), 42501 (a table is not the caller's), 22023 (columns,
// order_writer), IL051. Tells NOTICEs of what will hurt.
void Bind(const BindRequest &request);

// False when there is no such binding. 42501 when its stock table exists and is not the caller's.
bool Unbind(const std::string &name);

// Everything that bind would refuse or tell. Throws IL050.
std::vector<Finding> CheckBinding(const std::string &name);

}  // namespace inventory_lock::commerce
