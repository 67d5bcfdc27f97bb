#include "core/run/units.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

std::vector<std::int64_t> parse_units(const std::string& text, std::int64_t count) {
  std::vector<std::int64_t> units;
  if (trim(text).empty()) {
    units.resize(static_cast<std::size_t>(count));
    std::iota(units.begin(), units.end(), 0);
    return units;
  }
  const auto number = [&](const std::string& word, std::int64_t when_empty) {
    if (word.empty()) return when_empty;
    std::int64_t value = 0;
    const auto result = std::from_chars(word.data(), word.data() + word.size(), value);
    if (result.ec != std::errc() || result.ptr != word.data() + word.size())
      throw usage_error("run.units: '" + word + "' in '" + text +
                        "' is not a unit; write e.g. 0:64,100");
    return value;
  };
  for (const auto& entry : split(text, ',')) {
    const std::string part = trim(entry);
    const auto colon = part.find(':');
    const std::int64_t begin = number(part.substr(0, colon), colon == std::string::npos ? -1 : 0);
    const std::int64_t end =
        colon == std::string::npos ? begin + 1 : number(trim(part.substr(colon + 1)), count);
    if (begin < 0 || end <= begin || end > count)
      throw usage_error("run.units: '" + part + "' is outside the layer, whose units are 0 to " +
                        std::to_string(count - 1));
    for (std::int64_t unit = begin; unit < end; ++unit) units.push_back(unit);
  }
  std::sort(units.begin(), units.end());
  units.erase(std::unique(units.begin(), units.end()), units.end());
  return units;
}

}  // namespace linex
