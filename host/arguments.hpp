// The command line and the configuration file as raw text, section by section.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/sections.hpp"

namespace linex {

/// What a command accepts beside --section.key options.
struct CommandSyntax {
  std::string name;
  std::string words;  ///< help text of its positional words, e.g. "KIND/NAME"; "" = none
  std::vector<std::string> flags;   ///< e.g. "json"
  std::vector<std::string> values;  ///< e.g. "explanations"
  bool sections = false;            ///< takes --config and --section.key
};

struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, bool> flags;          ///< the command's, and "help"
  std::map<std::string, std::string> values;  ///< the command's
  Sections sections;
  std::vector<std::string> order;  ///< names of sections as they first come in the file
};

/// --plugin FILE (repeatable) and --no-plugins-from-env out of a command's arguments; anything else
/// is left to parse_arguments().
PluginSearch parse_plugin_search(const std::vector<std::string>& arguments);

/// All keys a section takes once its plugins are known; "section.key" names.
using KnownKeys = std::function<std::vector<std::string>(const Sections& first_look)>;

/// Parses in two phases: the first finds plugin names, then `known_keys` tells every key there is
/// and anything else is an error with a suggestion. Options override the file. Throws Error(usage).
Arguments parse_arguments(const CommandSyntax& syntax, const std::vector<std::string>& arguments,
                          const KnownKeys& known_keys);

}  // namespace linex
