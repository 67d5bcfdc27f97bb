#include "toolkit/external/free_options.hpp"

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

using Json = nlohmann::json;

namespace {

/// A number, true, false or null as such, anything else as text.
Json parse_value(const std::string& text) {
  if (!is_utf8(text)) throw usage_error("options: '" + printable(text) + "' is not UTF-8");
  const Json literal = Json::parse(text, nullptr, false);
  return literal.is_number() || literal.is_boolean() || literal.is_null() ? literal : Json(text);
}

}  // namespace

Json parse_free_options(const std::string& text) {
  const std::string trimmed = trim(text);
  if (trimmed.empty()) return Json::object();
  if (trimmed.front() == '{') {
    Json object = Json::parse(trimmed, nullptr, false);
    if (!object.is_object())
      throw usage_error("options: " + printable(trimmed) + " is not a JSON object");
    return object;
  }
  Json options = Json::object();
  std::string key;
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& part : split(trimmed, ',')) {
    const auto equals = part.find('=');
    if (equals != std::string::npos && !trim(part.substr(0, equals)).empty())
      pairs.emplace_back(trim(part.substr(0, equals)), part.substr(equals + 1));
    else if (!pairs.empty())
      pairs.back().second += "," + part;
    else
      throw usage_error("options: key=value,key=value or a JSON object is expected, not '" +
                        printable(trimmed) + "'");
  }
  for (const auto& [name, value] : pairs) options[name] = parse_value(value);
  return options;
}

std::string add_free_options(const std::string& text,
                             const std::map<std::string, std::string>& more) {
  Json options = parse_free_options(text);
  for (const auto& [key, value] : more) options[key] = parse_value(value);
  return options.empty() ? "" : options.dump();
}

}  // namespace linex
