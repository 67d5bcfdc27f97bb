// The plugins there are: found and judged by their notes, loaded when asked for.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/guarded.hpp"
#include "core/plugin/option_schema.hpp"
#include "core/plugin/plugin_note.hpp"
#include "linex/context.hpp"

namespace linex {

/// <libdir>/linex/plugins beside this library, in an installation as in a build folder.
std::filesystem::path installed_plugin_dir();

struct PluginSearch {
  std::vector<std::filesystem::path> files;  ///< --plugin FILE; these win over the search path
  bool from_environment = true;              ///< search LINEX_PLUGIN_PATH (absolute, ':' between)
  std::filesystem::path installed = installed_plugin_dir();  ///< empty = do not search it
};

/// One plugin file, usable or not.
struct PluginEntry {
  std::filesystem::path file;
  std::string origin;              ///< "--plugin", "LINEX_PLUGIN_PATH" or "installed"
  std::optional<PluginNote> note;  ///< empty where it cannot be read
  std::string key;                 ///< "solver/linear"; guessed from the file's name without a note
  std::string why;                 ///< why it cannot be used; "" = usable as far as is known
  const linex_plugin_descriptor* descriptor = nullptr;  ///< once loaded
};

/// A plain object owned by main, complete when constructed. [main thread]
class PluginRegistry {
 public:
  /// Looks at --plugin files, LINEX_PLUGIN_PATH in its order, then the installed folder; names
  /// sorted, folders and their models/, labelers/, solvers/, evaluators/. Never the current folder.
  /// No plugin code runs. A key found twice in the search path makes both files unusable; a bad
  /// file never throws here, its entry says why.
  explicit PluginRegistry(const PluginSearch& search = {});

  const std::deque<PluginEntry>& entries() const { return entries_; }
  /// Things the user should know, such as an overridden plugin.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// The folders that were looked into, there or not, and the files found, usable or not.
  const std::vector<std::filesystem::path>& places() const { return places_; }
  /// Usable names of a kind, sorted.
  std::vector<std::string> names(PluginKind kind) const;
  /// The plugins loaded so far, for provenance.
  std::vector<const PluginEntry*> loaded() const;

  /// The usable plugin of that name, not loaded yet. Throws Error(usage) with near names where
  /// there is none and Error(plugin) with the reason where there is one that cannot be used.
  const PluginEntry& find(PluginKind kind, const std::string& name) const;
  /// find() and load it, once and for good. Throws Error(plugin) too when loading fails.
  const PluginEntry& load(PluginKind kind, const std::string& name);
  /// Declared options; loads the plugin.
  OptionSpecs options(PluginKind kind, const std::string& name);

  /// Makes a guarded object; `context` lives at least as long. Throws Error(usage, input) of the
  /// plugin as they are and any other failure as Error(plugin).
  template <class Interface>
  std::shared_ptr<Interface> create(const std::string& name,
                                    std::shared_ptr<const PluginContext> context);

 private:
  void add_folder(const std::filesystem::path& folder, const std::string& origin);
  void add_file(const std::filesystem::path& file, const std::string& origin);
  void settle_duplicates();

  std::deque<PluginEntry> entries_;
  std::vector<std::string> warnings_;
  std::vector<std::filesystem::path> places_;
};

template <class Interface>
struct KindOf;
template <>
struct KindOf<TargetModel> {
  static constexpr PluginKind value = PluginKind::model;
};
template <>
struct KindOf<ConceptLabeler> {
  static constexpr PluginKind value = PluginKind::labeler;
};
template <>
struct KindOf<SparseSolver> {
  static constexpr PluginKind value = PluginKind::solver;
};
template <>
struct KindOf<Evaluator> {
  static constexpr PluginKind value = PluginKind::evaluator;
};

/// The object a loaded plugin makes, as its interface; its deleter keeps `context` and ends it by
/// the plugin's own destroy.
std::shared_ptr<void> create_object(const PluginEntry& plugin,
                                    std::shared_ptr<const PluginContext> context);

template <class Interface>
std::shared_ptr<Interface> PluginRegistry::create(const std::string& name,
                                                  std::shared_ptr<const PluginContext> context) {
  const PluginEntry& plugin = load(KindOf<Interface>::value, name);
  return guarded(std::static_pointer_cast<Interface>(create_object(plugin, std::move(context))),
                 plugin.key);
}

}  // namespace linex
