#include "linex/option.hpp"

#include <algorithm>

namespace linex::option {

OptionValues::Paths split_paths(const std::string& list) {
  constexpr char kBlanks[] = " \t\r\n";
  OptionValues::Paths paths;
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    const std::string part = list.substr(start, end - start);
    const std::size_t first = part.find_first_not_of(kBlanks);
    if (first != std::string::npos)
      paths.emplace_back(part.substr(first, part.find_last_not_of(kBlanks) - first + 1));
    start = end + 1;
  }
  return paths;
}

OptionValues defaults(const linex_option_spec* specs, std::size_t count) {
  OptionValues values;
  for (std::size_t i = 0; i < count; ++i) {
    const linex_option_spec& spec = specs[i];
    if (spec.required) continue;
    switch (spec.type) {
      case LINEX_OPTION_FLAG:
        values.set(spec.name, spec.default_number != 0);
        break;
      case LINEX_OPTION_INTEGER:
        values.set(spec.name, static_cast<std::int64_t>(spec.default_number));
        break;
      case LINEX_OPTION_REAL:
        values.set(spec.name, spec.default_number);
        break;
      case LINEX_OPTION_PATH:
        values.set(spec.name, std::filesystem::path(spec.default_text));
        break;
      case LINEX_OPTION_PATHS:
        values.set(spec.name, split_paths(spec.default_text));
        break;
      default:
        values.set(spec.name, std::string(spec.default_text));
    }
  }
  return values;
}

}  // namespace linex::option
