#include "core/plugin/option_schema.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "linex/error.hpp"
#include "linex/option.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/external/free_options.hpp"

namespace linex {
namespace {

constexpr const char* kTypeNames[] = {"flag", "integer", "real", "text", "choice", "path", "paths"};

std::string number_text(const linex_option_spec& spec, double value) {
  if (spec.type == LINEX_OPTION_INTEGER) return std::to_string(static_cast<std::int64_t>(value));
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return format_number(value);
}

std::string range_text(const linex_option_spec& spec) {
  if (spec.type == LINEX_OPTION_CHOICE) return spec.choices;
  if (spec.type != LINEX_OPTION_INTEGER && spec.type != LINEX_OPTION_REAL) return "";
  const double most = spec.type == LINEX_OPTION_INTEGER ? static_cast<double>(option::kMaxInteger)
                                                        : option::kNoLimit;
  const bool low = spec.min_value > -most, high = spec.max_value < most;
  if (low && high)
    return "[" + number_text(spec, spec.min_value) + ", " + number_text(spec, spec.max_value) + "]";
  if (low) return ">= " + number_text(spec, spec.min_value);
  return high ? "<= " + number_text(spec, spec.max_value) : "";
}

std::string default_text(const linex_option_spec& spec) {
  switch (spec.type) {
    case LINEX_OPTION_FLAG:
      return spec.default_number != 0 ? "true" : "false";
    case LINEX_OPTION_INTEGER:
    case LINEX_OPTION_REAL:
      return number_text(spec, spec.default_number);
    default:
      return spec.default_text;
  }
}

bool parse_flag(const std::string& text, bool& value) {
  for (const char* word : {"true", "1", "yes", "on"})
    if (text == word) return value = true, true;
  for (const char* word : {"false", "0", "no", "off"})
    if (text == word) return value = false, true;
  return false;
}

template <class Number>
bool parse_number(const std::string& text, Number& value) {
  const char* first = text.data();
  const char* last = first + text.size();
  if (first != last && *first == '+') ++first;
  const auto [end, failure] = std::from_chars(first, last, value);
  return failure == std::errc() && end == last && first != last;
}

/// One value checked against its declaration, and its canonical text.
std::pair<OptionValues::Value, std::string> parse_value(const linex_option_spec& spec,
                                                        const std::string& given,
                                                        const std::string& where) {
  const auto refuse = [&](const std::string& expected) {
    return usage_error(where + "=" + given + " is not " + expected);
  };
  const auto check_range = [&](double value) {
    // Written so that NaN fails too.
    if (!(value >= spec.min_value && value <= spec.max_value))
      throw usage_error(where + "=" + given + " is out of range, " + range_text(spec));
  };
  const std::string text = trim(given);
  switch (spec.type) {
    case LINEX_OPTION_FLAG: {
      bool value = false;
      if (!parse_flag(text, value)) throw refuse("true or false");
      return {value, value ? "true" : "false"};
    }
    case LINEX_OPTION_INTEGER: {
      std::int64_t value = 0;
      if (!parse_number(text, value)) throw refuse("an integer");
      check_range(static_cast<double>(value));
      return {value, std::to_string(value)};
    }
    case LINEX_OPTION_REAL: {
      double value = 0;
      if (!parse_number(text, value) || std::isnan(value)) throw refuse("a number");
      check_range(value);
      return {value, number_text(spec, value)};
    }
    case LINEX_OPTION_CHOICE:
      if (text.empty() || text.find('|') != std::string::npos ||
          !option::detail::is_choice(text.c_str(), spec.choices))
        throw usage_error(where + "=" + given + " is none of " + spec.choices +
                          did_you_mean(text, split(spec.choices, '|')));
      return {text, text};
    case LINEX_OPTION_PATH:
      return {std::filesystem::path(given), given};
    case LINEX_OPTION_PATHS:
      return {option::split_paths(given), given};
    default:
      return {given, given};
  }
}

constexpr const char* kFreeOptions = "options";

bool declares(const OptionSpecs& specs, const std::string& name) {
  return std::any_of(specs.begin(), specs.end(),
                     [&](const linex_option_spec& spec) { return name == spec.name; });
}

/// `raw` with what is not declared moved into the option for it.
std::map<std::string, std::string> gather_free_options(
    const OptionSpecs& specs, const std::map<std::string, std::string>& raw) {
  std::map<std::string, std::string> declared, others;
  for (const auto& given : raw) (declares(specs, given.first) ? declared : others).insert(given);
  std::string& options = declared[kFreeOptions];
  options = add_free_options(options, others);
  return declared;
}

}  // namespace

bool takes_free_options(const OptionSpecs& specs) {
  return std::any_of(specs.begin(), specs.end(), [](const linex_option_spec& spec) {
    return spec.type == LINEX_OPTION_TEXT && std::strcmp(spec.name, kFreeOptions) == 0;
  });
}

ResolvedOptions resolve_options(const OptionSpecs& specs,
                                const std::map<std::string, std::string>& given,
                                const std::string& section, const std::string& plugin,
                                const std::vector<std::string>& host_keys) {
  const auto raw = takes_free_options(specs) ? gather_free_options(specs, given) : given;
  std::vector<std::string> known = host_keys;
  for (const linex_option_spec& spec : specs) known.emplace_back(spec.name);
  for (const auto& entry : raw)
    if (!declares(specs, entry.first))
      throw usage_error(section + "." + entry.first + " is not an option of " + plugin +
                        did_you_mean(entry.first, known));

  ResolvedOptions resolved;
  resolved.values = option::defaults(specs.begin(), specs.size());
  for (const linex_option_spec& spec : specs) {
    const auto found = raw.find(spec.name);
    const std::string where = section + "." + spec.name;
    if (found == raw.end()) {
      if (spec.required)
        throw usage_error(plugin + " needs --" + where + "=... (" + spec.help + ")");
      resolved.text.emplace_back(spec.name, default_text(spec));
      continue;
    }
    auto [value, text] = parse_value(spec, found->second, where);
    resolved.values.set(spec.name, std::move(value));
    resolved.text.emplace_back(spec.name, std::move(text));
  }
  for (const linex_option_spec& spec : specs) {
    if (!resolved.values.all().count(spec.name)) continue;
    if (spec.type == LINEX_OPTION_PATH && !resolved.values.path(spec.name).empty())
      resolved.paths.push_back({spec.name, resolved.values.path(spec.name)});
    if (spec.type == LINEX_OPTION_PATHS)
      for (const auto& path : resolved.values.paths(spec.name))
        resolved.paths.push_back({spec.name, path});
  }
  return resolved;
}

std::vector<OptionHelp> describe_options(const OptionSpecs& specs) {
  std::vector<OptionHelp> rows;
  for (const linex_option_spec& spec : specs)
    rows.push_back({spec.name, kTypeNames[spec.type], spec.required ? "" : default_text(spec),
                    range_text(spec), spec.help, spec.required != 0});
  return rows;
}

std::string format_options(const OptionSpecs& specs, const std::string& section) {
  const std::vector<OptionHelp> rows = describe_options(specs);
  std::vector<std::string> heads;
  std::size_t width = 0;
  for (const OptionHelp& row : rows) {
    heads.push_back("  --" + section + "." + row.name + " " + row.type);
    width = std::max(width, heads.back().size());
  }
  std::string text;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const OptionHelp& row = rows[i];
    const std::string preset = row.required                ? "required"
                               : row.default_value.empty() ? "default empty"
                                                           : "default " + row.default_value;
    text += heads[i] + std::string(width - heads[i].size() + 2, ' ') + row.help + " (" + preset +
            (row.range.empty() ? "" : ", " + row.range) + ")\n";
  }
  return text;
}

}  // namespace linex
