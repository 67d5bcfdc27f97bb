#include "linex/option.hpp"

namespace linex::option {

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
      default:
        values.set(spec.name, std::string(spec.default_text));
    }
  }
  return values;
}

}  // namespace linex::option
