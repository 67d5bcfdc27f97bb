// A plugin's declared options against what the user wrote.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "linex/context.hpp"
#include "linex/plugin_abi.h"

namespace linex {

/// A view of declarations; those of plugins live as long as the process (never unloaded).
class OptionSpecs {
 public:
  OptionSpecs() = default;
  OptionSpecs(const linex_option_spec* first, std::size_t count) : first_(first), count_(count) {}
  const linex_option_spec* begin() const { return first_; }
  const linex_option_spec* end() const { return first_ + count_; }
  std::size_t size() const { return count_; }

 private:
  const linex_option_spec* first_ = nullptr;
  std::size_t count_ = 0;
};

/// A file or folder that an option names.
struct OptionPath {
  std::string name;  ///< of the option
  std::filesystem::path path;
};

struct ResolvedOptions {
  OptionValues values;
  /// Every file and folder that the options name, in the order of declaration.
  std::vector<OptionPath> paths;
  /// Every option with its value as text, in the order of declaration; for run.ini and reports.
  /// Reading it back gives the same values.
  std::vector<std::pair<std::string, std::string>> text;
};

/// Whether a plugin takes keys that it does not declare: one that declares a text option `options`
/// gets them there, as toolkit/external/free_options.hpp reads them.
bool takes_free_options(const OptionSpecs& specs);

/// Applies defaults and checks names, types, ranges, choices and required ones. `raw` is what the
/// user gave for this section without the host's own keys; `section` is how messages name options
/// ("solver" gives "solver.lambda"); `plugin` is the key of the plugin ("solver/linear");
/// `host_keys` are further keys of the section, only for "did you mean". Throws Error(usage).
ResolvedOptions resolve_options(const OptionSpecs& specs,
                                const std::map<std::string, std::string>& raw,
                                const std::string& section, const std::string& plugin,
                                const std::vector<std::string>& host_keys = {});

/// One option as people read it.
struct OptionHelp {
  std::string name;
  std::string type;           ///< "flag", "integer", "real", "text", "choice", "path", "paths"
  std::string default_value;  ///< "" for a required one
  std::string range;          ///< "[0, 1]", ">= 0", "a|b|c", or ""
  std::string help;
  bool required = false;
};
std::vector<OptionHelp> describe_options(const OptionSpecs& specs);

/// The same as aligned lines, "  --solver.lambda real  strength (default 0.05, [0, 1])".
std::string format_options(const OptionSpecs& specs, const std::string& section);

}  // namespace linex
