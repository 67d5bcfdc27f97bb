// Options that only the user's own command knows.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace linex {

/// Options as a JSON object: "" is empty, {...} is taken as it is, "key=value,key=value" has values
/// that are JSON numbers, true, false or null as such and any other as text; a part without '='
/// belongs to the value before it. Throws Error(usage).
nlohmann::json parse_free_options(const std::string& text);

/// `text` with `more` added, as the text of a JSON object; "" where there is none.
std::string add_free_options(const std::string& text,
                             const std::map<std::string, std::string>& more);

}  // namespace linex
