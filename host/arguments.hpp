// The command line and the configuration file as raw text, section by section.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/sections.hpp"
#include "host/launcher/command_table.hpp"

namespace linex {

struct Arguments {
  CommandSyntax syntax;  ///< of the command they are for
  std::vector<std::string> words;
  std::map<std::string, bool> flags;          ///< the command's, and "help"
  std::map<std::string, std::string> values;  ///< the command's
  Sections sections;
  std::vector<std::string> order;  ///< names of sections as they first come in the file
  std::vector<std::string> warnings;
  std::string config;                         ///< the file, "" = none
  std::map<std::string, std::int64_t> lines;  ///< of "section.key"s whose value is the file's
};

/// --plugin FILE (repeatable) and --no-plugins-from-env out of a command's arguments; anything else
/// is left to parse_arguments().
PluginSearch parse_plugin_search(const std::vector<std::string>& arguments);

/// All keys a section takes once its plugins are known; "section.key" names.
using KnownKeys = std::function<std::vector<std::string>(const Sections& first_look)>;

/// Parses in two phases: the first finds plugin names, then `known_keys` tells every key there is
/// and anything else is an error with a suggestion. Options override the file. Where the command
/// line names another plugin than the file, what the file sets of the file's plugin is left out,
/// with a warning that names it. Throws Error(usage).
Arguments parse_arguments(const CommandSyntax& syntax, const std::vector<std::string>& arguments,
                          const KnownKeys& known_keys);

/// A message that begins with an option ("solver.lambda=x is not a number") and, where its value is
/// from the configuration file, which line it stands on.
std::string with_origin(const Arguments& arguments, const std::string& message);

}  // namespace linex
