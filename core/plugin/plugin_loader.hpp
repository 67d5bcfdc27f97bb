// From a plugin file to its descriptor.
#pragma once

#include <filesystem>

#include "core/plugin/plugin_note.hpp"

namespace linex {

/// Throws Error(plugin) unless `file` and its folder belong to root or this user and nobody else
/// may write to them. Loading a plugin is running it with the user's rights: this is hygiene, not a
/// sandbox.
void check_plugin_trust(const std::filesystem::path& file);

/// Loads a compatible plugin into the process, for good: it is never unloaded, since tensors,
/// exceptions and functions of a plugin outlive every call into it. Checks trust, loads with all
/// symbols bound, and compares the descriptor's note with the one read from the file. Throws
/// Error(plugin) "FILE: why".
const linex_plugin_descriptor& load_plugin(const std::filesystem::path& file,
                                           const PluginNote& note);

}  // namespace linex
