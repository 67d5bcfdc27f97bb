// Whether plugins can be created with their defaults, tried where a crash does no harm.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/plugin/child_process.hpp"
#include "core/plugin/plugin_registry.hpp"

namespace linex {

struct Trial {
  std::string why;   ///< why it cannot be used; "" = it can
  std::string note;  ///< what its create asked for, e.g. a file; it is not broken
};

struct Trials {
  std::map<std::filesystem::path, Trial> by_file;  ///< of the plugin
  std::vector<std::filesystem::path> read;  ///< libraries that were loaded for them, repeatedly
};

/// Loads and creates every usable plugin of the registry once, with its defaults, in a child
/// process; those with required options are only loaded. A crash ends the child, is put down to
/// the plugin being tried, and a new child goes on with the next one; so does one that takes longer
/// than `options.patience`.
Trials try_plugins(const PluginRegistry& registry, const ChildOptions& options = {});

}  // namespace linex
