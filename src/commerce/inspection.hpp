// What is wrong with the tables of a binding, or will hurt.
//
// Runs in: backends, when tables are bound and whenever check_binding asks. A binding that could be
// loaded at all has the tables and columns that it names; this looks at what calls would stumble
// over (types, keys, NULLs) and at what makes them slow or unsafe.

#pragma once

#include "commerce/binding.hpp"

namespace inventory_lock::commerce {

struct Finding {
    bool error = false;  // else a warning
    std::string table;   // qualified
    std::string message;
    std::string hint;
};

std::vector<Finding> Inspect(const Binding &binding);

// The first row's first column, a boolean, of a query about one relation ($1) and names ($2); false
// when there is no row.
bool Ask(const char *sql, Oid relation, const std::vector<std::string> &names = {});

}  // namespace inventory_lock::commerce
