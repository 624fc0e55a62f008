// Reads and writes JSON: see json.hpp.

#include "commerce/json.hpp"

extern "C" {
#include <utils/jsonb.h>
#include <utils/numeric.h>
}

namespace inventory_lock::commerce {

namespace {

// What recursion over a tree, its destruction included, can stand many times over.
constexpr size_t kMaxDepth = 500;

// One step of PostgreSQL's iterator, with scalars already as text.
struct Step {
    JsonbIteratorToken token;
    Json::Kind kind;
    bool boolean;
    const char *text;
    int length;
    const char *normal;
};

Step NextStep(JsonbIterator **iterator) {
    return pg::Call([iterator] {
        JsonbValue value;
        Step step = {};
        step.token = JsonbIteratorNext(iterator, &value, false);
        if (step.token != WJB_KEY && step.token != WJB_VALUE && step.token != WJB_ELEM) {
            return step;
        }
        switch (value.type) {
            case jbvBool:
                step.kind = Json::Kind::kBool;
                step.boolean = value.val.boolean;
                break;
            case jbvNumeric:
                step.kind = Json::Kind::kNumber;
                step.text = DatumGetCString(
                    DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
                step.length = static_cast<int>(strlen(step.text));
                step.normal = numeric_normalize(value.val.numeric);
                break;
            case jbvString:
                step.kind = Json::Kind::kString;
                step.text = value.val.string.val;
                step.length = value.val.string.len;
                break;
            default:
                step.kind = Json::Kind::kNull;
                break;
        }
        return step;
    });
}

Json Scalar(const Step &step) {
    Json json;
    json.kind = step.kind;
    json.boolean = step.boolean;
    if (step.text != nullptr) {
        json.text.assign(step.text, static_cast<size_t>(step.length));
    }
    if (step.normal != nullptr) {
        json.normal = step.normal;
    }
    return json;
}

}  // namespace

const Json *Json::Find(std::string_view name) const {
    for (size_t i = 0; i < names.size(); i++) {
        if (names[i] == name) {
            return items[i].kind == Kind::kNull ? nullptr : &items[i];
        }
    }
    return nullptr;
}

Json ReadJson(Datum jsonb) {
    Jsonb *const value = pg::Call([jsonb] { return DatumGetJsonbP(jsonb); });
    JsonbIterator *iterator = pg::Call([value] { return JsonbIteratorInit(&value->root); });
    const bool scalar = JB_ROOT_IS_SCALAR(value);
    Json root;
    root.kind = Json::Kind::kArray;
    // Containers that are not closed yet. An item is complete before its parent gets another one,
    // so the pointers stay valid.
    std::vector<Json *> open = {&root};
    while (true) {
        const Step step = NextStep(&iterator);
        Json *const parent = open.back();
        switch (step.token) {
            case WJB_DONE:
                break;
            case WJB_KEY:
                parent->names.emplace_back(step.text, static_cast<size_t>(step.length));
                continue;
            case WJB_VALUE:
            case WJB_ELEM:
                parent->items.push_back(Scalar(step));
                continue;
            case WJB_BEGIN_ARRAY:
            case WJB_BEGIN_OBJECT:
                parent->items.emplace_back();
                parent->items.back().kind =
                    step.token == WJB_BEGIN_ARRAY ? Json::Kind::kArray : Json::Kind::kObject;
                open.push_back(&parent->items.back());
                if (open.size() > kMaxDepth) {
                    throw pg::SqlError(
                        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                        "JSON is nested more than " + std::to_string(kMaxDepth) + " levels deep");
                }
                continue;
            case WJB_END_ARRAY:
            case WJB_END_OBJECT:
                open.pop_back();
                continue;
        }
        break;
    }
    Json top = std::move(root.items.at(0));
    return scalar ? Json(top.items.at(0)) : top;
}

std::string Json::Print(std::string Json::*number) const {
    switch (kind) {
        case Kind::kNull:
            return "null";
        case Kind::kBool:
            return boolean ? "true" : "false";
        case Kind::kNumber:
            return this->*number;
        case Kind::kString:
            return JsonString(text);
        case Kind::kArray:
        case Kind::kObject:
            break;
    }
    const bool object = kind == Kind::kObject;
    std::string printed = object ? "{" : "[";
    for (size_t i = 0; i < items.size(); i++) {
        printed += i == 0 ? "" : ",";
        printed += object ? JsonString(names[i]) + ":" : std::string();
        printed += items[i].Print(number);
    }
    return printed + (object ? "}" : "]");
}

std::string JsonString(std::string_view text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            json += '\\';
            json += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
            json += escape;
        } else {
            json += c;
        }
    }
    return json + "\"";
}

std::string JsonStringOrNull(const std::optional<std::string> &text) {
    return text ? JsonString(*text) : "null";
}

Datum MakeJsonb(const std::string &text) {
    const char *const json = text.c_str();
    return pg::Call([json] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(json)); });
}

namespace {

// The member, in the current memory context; nullptr for none or null.
JsonbValue *FindMember(Datum object, std::string_view name) {
    Jsonb *const value = DatumGetJsonbP(object);
    JsonbValue *const found = JB_ROOT_IS_OBJECT(value) ? getKeyJsonValueFromContainer(
                                                             &value->root, name.data(),
                                                             static_cast<int>(name.size()), nullptr)
                                                       : nullptr;
    return found != nullptr && found->type != jbvNull ? found : nullptr;
}

}  // namespace

std::optional<std::string> JsonbText(Datum object, std::string_view name) {
    struct Found {
        const char *text;
        int length;
    };
    const Found found = pg::Call([=]() -> Found {
        const JsonbValue *const member = FindMember(object, name);
        if (member == nullptr || (member->type != jbvString && member->type != jbvNumeric)) {
            return {nullptr, 0};
        }
        if (member->type == jbvString) {
            return {member->val.string.val, member->val.string.len};
        }
        const char *const digits =
            DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(member->val.numeric)));
        return {digits, static_cast<int>(strlen(digits))};
    });
    return found.text != nullptr
               ? std::optional<std::string>({found.text, static_cast<size_t>(found.length)})
               : std::nullopt;
}

std::optional<Datum> JsonbMember(Datum object, std::string_view name) {
    const Jsonb *const member = pg::Call([=]() -> const Jsonb * {
        JsonbValue *const found = FindMember(object, name);
        return found != nullptr ? JsonbValueToJsonb(found) : nullptr;
    });
    return member != nullptr ? std::optional<Datum>(PointerGetDatum(member)) : std::nullopt;
}

Datum JsonbWith(Datum object, std::string_view name, std::string_view text) {
    const Datum added = MakeJsonb("{" + JsonString(name) + ":" + JsonString(text) + "}");
    return pg::Call([=] { return DirectFunctionCall2(jsonb_concat, added, object); });
}

const char *KindName(Json::Kind kind) {
    switch (kind) {
        case Json::Kind::kNull:
            return "null";
        case Json::Kind::kBool:
            return "a boolean";
        case Json::Kind::kNumber:
            return "a number";
        case Json::Kind::kString:
            return "a string";
        case Json::Kind::kArray:
            return "an array";
        case Json::Kind::kObject:
            return "an object";
    }
    return "unknown";
}

}  // namespace inventory_lock::commerce
