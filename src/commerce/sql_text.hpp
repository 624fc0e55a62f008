// Builds the text of statements over bound tables: qualified, quoted, and safe from search_path.
//
// Runs in: backends, when a plan is made. Binding::Sql() expands placeholders in braces:
//
//   {stock_level}                 the table
//   {stock_level.on_hand}         the column's name; IL051 when the table has no such role
//   {s:stock_level.held|0}        s."held", or 0 when the table has no such role
//   {type:stock_level.variant_id} the column's type
//   {live}                        " AND s.deleted_at IS NULL" where stock levels have that role
//   {=} {<>} {<} {<=} {>} {>=} {+} {-} {*} {||}   the operator, as OPERATOR(pg_catalog.=)
//
// Functions are written out as pg_catalog.name(…) in the text itself.

#pragma once

#include "commerce/binding.hpp"

namespace inventory_lock::commerce {

// One column of an INSERT or UPDATE: its role and the expression for it, not yet expanded.
struct Assignment {
    std::string_view role;
    std::string_view expression;
};

// `INSERT INTO table (columns) SELECT expressions`, leaving out the roles that the table lacks.
std::string InsertSelect(const Binding &binding, TableId table,
                         std::initializer_list<Assignment> assignments);

// `column = expression, …` for UPDATE … SET, leaving out the roles that the table lacks.
std::string SetList(const Binding &binding, TableId table,
                    std::initializer_list<Assignment> assignments);

// What follows SET in an UPDATE of rows s, the lines of one order or reservation that are given by
// number: three parameters from `first` on, with the value of `id_role`, the lines' numbers and an
// integer for each, which is u.given. `more` are more tables for the expressions (" CROSS JOIN p").
std::string OfLines(const Binding &binding, TableId table, std::string_view id_role, size_t first,
                    const std::string &more = {});

std::string QuoteName(const std::string &name);
std::string QuoteLiteral(const std::string &text);

// The whole name of a relation, quoted; empty when there is none with this OID.
std::string RelationName(Oid relation);

// A key as it is in the Redis key and in results: the id's text after a round trip through the
// type of its column, so that '007' and '7' are one key for a bigint.
struct Id {
    std::string text;
    Datum value;  // of the column's type, in SPI's memory context
};

// Throws 22P02 naming the argument when the text is no value of the type.
Id ParseId(const Column &column, const std::string &text, const char *argument);

// False when the text is certainly no value of the column's type: an id from somewhere else.
bool CouldBeId(const Column &column, const std::string &text);

// An id that is compared with those of this column of the stock table, as they are written there;
// one that is none of them, as it is.
std::string NormalId(const Binding &binding, const char *role, const std::string &text);

}  // namespace inventory_lock::commerce
