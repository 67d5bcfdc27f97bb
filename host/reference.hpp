// What the command line takes, as data, and its forms on paper: the option reference, the manual
// page, and completions for shells.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/plugin/option_schema.hpp"
#include "core/plugin/plugin_registry.hpp"
#include "host/launcher/command_table.hpp"

namespace linex {

/// Keys of a section that hold whatever plugin is chosen.
struct SectionEntry {
  std::string name;
  std::string plugin_kind;  ///< "" where the section has no plugin
  std::vector<OptionHelp> keys;
};

struct PluginReference {
  std::string kind, name, summary;
  std::vector<OptionHelp> options;
};

struct Reference {
  std::string version;
  std::vector<CommandEntry> commands;
  std::vector<SectionEntry> sections;
  std::vector<PluginReference> plugins;     ///< by kind, then name
  std::vector<std::filesystem::path> read;  ///< libraries that were loaded for it
};

/// Loads every usable plugin of `registry`, in a child process. Throws Error(plugin) naming one
/// that cannot be loaded.
Reference make_reference(PluginRegistry& registry, std::vector<CommandEntry> commands,
                         const std::string& version);

/// docs/options.md, all of it.
std::string to_markdown(const Reference& reference);
/// linex(1) as man's macros have it.
std::string to_manual(const Reference& reference);
/// Scripts for bash (4 or later) and zsh: commands, options, choices, plugins, files.
std::string to_bash(const Reference& reference);
std::string to_zsh(const Reference& reference);

}  // namespace linex
