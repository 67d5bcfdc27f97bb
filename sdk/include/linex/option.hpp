// Declaring options: name, type, default, range or choices, help. Declared once in the plugin; the
// host parses, checks, documents and reports them.
//
//   static constexpr std::array kOptions{
//       linex::option::real("lambda", 0.05, 0, 1e6, "strength of the penalty"),
//       linex::option::choice("search", "greedy", "greedy|beam", "how concepts are picked"),
//       linex::option::required(linex::option::path("weights", "", "checkpoint file"))};
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>

#include "linex/context.hpp"
#include "linex/export.hpp"
#include "linex/plugin_abi.h"

namespace linex::option {

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();
/// Largest magnitude an integer default or bound can have: they are stored as doubles.
inline constexpr std::int64_t kMaxInteger = std::int64_t{1} << 53;

/// true/false, 1/0, yes/no, on/off; read with OptionValues::flag.
constexpr linex_option_spec flag(const char* name, bool value, const char* help) {
  return {name, LINEX_OPTION_FLAG, 0, nullptr, value ? 1.0 : 0.0, 0, 1, nullptr, help};
}
/// Inclusive bounds; read with OptionValues::integer.
constexpr linex_option_spec integer(const char* name, std::int64_t value, std::int64_t min,
                                    std::int64_t max, const char* help) {
  return {name,
          LINEX_OPTION_INTEGER,
          0,
          nullptr,
          static_cast<double>(value),
          static_cast<double>(min),
          static_cast<double>(max),
          nullptr,
          help};
}
/// Inclusive bounds, kNoLimit for none; never NaN; read with OptionValues::real.
constexpr linex_option_spec real(const char* name, double value, double min, double max,
                                 const char* help) {
  return {name, LINEX_OPTION_REAL, 0, nullptr, value, min, max, nullptr, help};
}
/// Any text but the name of a file or folder; read with OptionValues::text.
constexpr linex_option_spec text(const char* name, const char* value, const char* help) {
  return {name, LINEX_OPTION_TEXT, 0, value, 0, 0, 0, nullptr, help};
}
/// A file or folder, "" for none; read with OptionValues::path. What it holds is part of the keys
/// of caches and of interrupted runs, and run.ini states it so that the run can be repeated from
/// anywhere.
constexpr linex_option_spec path(const char* name, const char* value, const char* help) {
  return {name, LINEX_OPTION_PATH, 0, value, 0, 0, 0, nullptr, help};
}
/// Several of them, a comma list; read with OptionValues::paths.
constexpr linex_option_spec paths(const char* name, const char* value, const char* help) {
  return {name, LINEX_OPTION_PATHS, 0, value, 0, 0, 0, nullptr, help};
}
/// One of `choices` ("a|b|c"); read with OptionValues::text.
constexpr linex_option_spec choice(const char* name, const char* value, const char* choices,
                                   const char* help) {
  return {name, LINEX_OPTION_CHOICE, 0, value, 0, 0, 0, choices, help};
}
/// The same option without a default: leaving it out is an error.
constexpr linex_option_spec required(linex_option_spec spec) {
  spec.required = 1;
  return spec;
}

/// What is wrong with a declaration, or null. Evaluated at compile time for the plugin's author
/// (plugin.hpp) and again by the host for whatever it loads.
constexpr const char* flaw(const linex_option_spec& spec);
/// The first flaw of `count` declarations, doubled names too, or null.
constexpr const char* flaw(const linex_option_spec* specs, std::size_t count);

/// The files and folders of a comma list: parts without the blanks around them, empty ones left
/// out.
LINEX_API OptionValues::Paths split_paths(const std::string& list);

/// Defaults of all options that have one.
LINEX_API OptionValues defaults(const linex_option_spec* specs, std::size_t count);
template <class Specs>
OptionValues defaults(const Specs& specs) {
  return defaults(std::data(specs), std::size(specs));
}

// ------------------------------------------------------------------------------------------------

namespace detail {

constexpr bool same(const char* a, const char* b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

/// [a-z][a-z0-9_]*
constexpr bool is_lower_snake(const char* text) {
  if (!text || *text < 'a' || *text > 'z') return false;
  for (; *text; ++text)
    if (!((*text >= 'a' && *text <= 'z') || (*text >= '0' && *text <= '9') || *text == '_'))
      return false;
  return true;
}

/// Whether `word` is one of "a|b|c".
constexpr bool is_choice(const char* word, const char* choices) {
  for (const char* start = choices;;) {
    const char* end = start;
    while (*end && *end != '|') ++end;
    const char* at = word;
    const char* from = start;
    while (from != end && *at == *from) ++at, ++from;
    if (from == end && !*at) return true;
    if (!*end) return false;
    start = end + 1;
  }
}

constexpr bool within(double value, double min, double max) { return value >= min && value <= max; }

}  // namespace detail

constexpr const char* flaw(const linex_option_spec& spec) {
  constexpr double limit = static_cast<double>(kMaxInteger);
  if (!detail::is_lower_snake(spec.name)) return "an option's name is not lower_snake";
  if (detail::same(spec.name, "plugin")) return "'plugin' is not a name for an option";
  if (!spec.help || !*spec.help) return "an option has no help";
  switch (spec.type) {
    case LINEX_OPTION_FLAG:
      return spec.default_number == 0 || spec.default_number == 1 ? nullptr
                                                                  : "a flag is neither 0 nor 1";
    case LINEX_OPTION_INTEGER:
      if (!(spec.min_value >= -limit && spec.max_value <= limit))
        return "an integer option needs bounds within 2^53";
      [[fallthrough]];
    case LINEX_OPTION_REAL:
      if (!(spec.min_value <= spec.max_value)) return "an option's range is empty";
      if (!spec.required && !detail::within(spec.default_number, spec.min_value, spec.max_value))
        return "an option's default is outside its range";
      return nullptr;
    case LINEX_OPTION_TEXT:
    case LINEX_OPTION_PATH:
    case LINEX_OPTION_PATHS:
      return spec.required || spec.default_text ? nullptr : "a text or path option has no default";
    case LINEX_OPTION_CHOICE:
      if (!spec.choices || !*spec.choices) return "a choice option has no choices";
      if (!spec.required &&
          !(spec.default_text && detail::is_choice(spec.default_text, spec.choices)))
        return "an option's default is not among its choices";
      return nullptr;
    default:
      return "an option has an unknown type";
  }
}

constexpr const char* flaw(const linex_option_spec* specs, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (const char* found = flaw(specs[i])) return found;
    for (std::size_t j = 0; j < i; ++j)
      if (detail::same(specs[i].name, specs[j].name)) return "two options have the same name";
  }
  return nullptr;
}

}  // namespace linex::option
