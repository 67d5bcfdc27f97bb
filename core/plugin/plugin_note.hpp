// A plugin's note, read from its file without loading it: no code of the plugin runs.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "linex/plugin_abi.h"

namespace linex {

enum class PluginKind { model, labeler, solver, evaluator };
inline constexpr std::array<PluginKind, 4> kPluginKinds{PluginKind::model, PluginKind::labeler,
                                                        PluginKind::solver, PluginKind::evaluator};
const char* to_string(PluginKind kind) noexcept;
/// Throws Error(usage) for anything but the four words.
PluginKind plugin_kind_from_string(const std::string& word);

/// A note whose texts are closed, printable and of a known kind.
struct PluginNote {
  PluginKind kind = PluginKind::model;
  std::string name, version, summary, license, abi_tag;
  linex_plugin_note raw{};  ///< its bytes in the file

  /// "solver/linear"
  std::string key() const { return std::string(to_string(kind)) + "/" + name; }
};

/// Reads the note of a shared library. Every offset and length is checked against the file's size.
/// Throws Error(plugin) "FILE: why" for a file that is missing, truncated, no ELF library of this
/// machine, or without a well-formed note.
PluginNote read_plugin_note(const std::filesystem::path& file);

/// Why this host cannot use a plugin with that note, both sides named, or "" when it can.
std::string incompatibility(const PluginNote& note);
/// "0.1", or "not used" for 0.
std::string toolkit_text(std::uint32_t version);
/// Whether a plugin built with toolkit version `plugin` (0: without) runs with the host's: the same
/// major version and no newer minor one, before 1.0 the same.
bool toolkit_fits(std::uint32_t plugin, std::uint32_t host);
/// The fields that differ between two ABI tags, "cxx11=0 (host: cxx11=1), ...", or "".
std::string abi_difference(const std::string& plugin_tag, const std::string& host_tag);

}  // namespace linex
