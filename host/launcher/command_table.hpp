// The commands there are, as data: what needs nothing else is said without loading anything.
#pragma once

#include <string>
#include <vector>

namespace linex {

/// What a command accepts beside --section.key options.
struct CommandSyntax {
  std::string name;
  std::string words;  ///< help text of its positional words, e.g. "KIND/NAME"; "" = none
  std::vector<std::string> flags;   ///< e.g. "json"
  std::vector<std::string> values;  ///< e.g. "explanations"
  bool sections = false;            ///< takes --config and --section.key
};

struct CommandEntry {
  CommandSyntax syntax;
  std::string does;
  bool shared = false;  ///< several ranks may work on it
};

/// All of them, in the order of the help.
const std::vector<CommandEntry>& command_table();

/// What `linex --help` prints.
std::string usage_text();
/// What `linex --version` prints.
std::string version_text();
/// What a command line that needs no plugin prints, all of it; "" for any other.
std::string text_without_plugins(const std::vector<std::string>& words);

}  // namespace linex
