// JSON from SQL, as a plain tree; and JSON text for answers.
//
// Runs in: backends. The tree is read from a jsonb value with a limit on the depth of nesting
// (54000), so that recursion over it is safe. Numbers keep PostgreSQL's own text.

#pragma once

#include "commerce/spi.hpp"

namespace inventory_lock::commerce {

struct Json {
    enum class Kind : uint8 { kNull, kBool, kNumber, kString, kArray, kObject };

    Kind kind = Kind::kNull;
    bool boolean = false;
    std::string text;                // of a string or number
    std::string normal;              // of a number: without trailing zeros, equal for equal numbers
    std::vector<std::string> names;  // of an object, beside its items
    std::vector<Json> items;         // of an array or object

    // An object's member; nullptr when it is absent. A null member counts as absent.
    const Json *Find(std::string_view name) const;

    // JSON text: with numbers as they are, or the same text for equal values.
    std::string Text() const { return Print(&Json::text); }
    std::string Canonical() const { return Print(&Json::normal); }

  private:
    std::string Print(std::string Json::*number) const;
};

// The tree of a jsonb value.
Json ReadJson(Datum jsonb);

// A string with quotes and escapes.
std::string JsonString(std::string_view text);

// "…" or null.
std::string JsonStringOrNull(const std::optional<std::string> &text);

// The jsonb value of a JSON text, in SPI's memory context (or the current one).
Datum MakeJsonb(const std::string &text);

// Of an object that is a jsonb value: the text of a string or number, and any member's value;
// nullopt for none, null or no object.
std::optional<std::string> JsonbText(Datum object, std::string_view name);
std::optional<Datum> JsonbMember(Datum object, std::string_view name);

// The object with one more member, a string.
Datum JsonbWith(Datum object, std::string_view name, std::string_view text);

// What a kind is called in messages.
const char *KindName(Json::Kind kind);

}  // namespace inventory_lock::commerce
