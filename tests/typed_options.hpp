// Options as the host hands them over, for tests that make plugins by hand.
#pragma once

#include <map>
#include <string>

#include "core/plugin/option_schema.hpp"
#include "linex/option.hpp"

namespace linex::test {

/// The defaults of `specs` with `given` over them; a text given for a path option is that path.
inline OptionValues typed_options(const OptionSpecs& specs,
                                  const std::map<std::string, OptionValues::Value>& given) {
  OptionValues options = option::defaults(specs.begin(), specs.size());
  for (const auto& [key, value] : given) {
    OptionValues::Value typed = value;
    const auto* text = std::get_if<std::string>(&value);
    for (const linex_option_spec& spec : specs) {
      if (!text || key != spec.name) continue;
      if (spec.type == LINEX_OPTION_PATH) typed = std::filesystem::path(*text);
      if (spec.type == LINEX_OPTION_PATHS) typed = option::split_paths(*text);
    }
    options.set(key, std::move(typed));
  }
  return options;
}

}  // namespace linex::test
