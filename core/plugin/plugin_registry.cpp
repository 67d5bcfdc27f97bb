#include "core/plugin/plugin_registry.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>

#include "core/plugin/plugin_guard.hpp"
#include "core/plugin/plugin_loader.hpp"
#include "linex/error.hpp"
#include "toolkit/base/library_folder.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace fs = std::filesystem;
namespace {

/// What a message says after the "FILE: " it starts with.
std::string reason(const Error& error, const fs::path& file) {
  const std::string text = error.what(), start = file.string() + ": ";
  return text.compare(0, start.size(), start) == 0 ? text.substr(start.size()) : text;
}

/// linex_solver_linear.so is meant to be solver/linear, whatever its content.
std::string key_from_file_name(const fs::path& file) {
  const std::string stem = file.stem().string();
  for (const PluginKind kind : kPluginKinds) {
    const std::string start = std::string("linex_") + to_string(kind) + "_";
    if (stem.compare(0, start.size(), start) == 0)
      return std::string(to_string(kind)) + "/" + stem.substr(start.size());
  }
  return "";
}

bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

}  // namespace

fs::path installed_plugin_dir() { return library_folder() / "linex" / "plugins"; }

PluginRegistry::PluginRegistry(const PluginSearch& search) {
  for (const fs::path& file : search.files) add_file(fs::absolute(file), "--plugin");
  // secure_getenv: a privileged program does not take code from its caller's environment.
  const char* path = search.from_environment ? ::secure_getenv("LINEX_PLUGIN_PATH") : nullptr;
  for (const std::string& part : split(path ? path : "", ':')) {
    if (part.empty()) continue;
    const fs::path place(part);
    if (place.is_relative()) {
      warnings_.push_back("LINEX_PLUGIN_PATH: '" + part + "' is not absolute and was left out");
    } else if (fs::is_directory(place)) {
      add_folder(place, "LINEX_PLUGIN_PATH");
    } else if (fs::exists(place)) {
      add_file(place, "LINEX_PLUGIN_PATH");
    } else {
      warnings_.push_back("LINEX_PLUGIN_PATH: there is no " + part);
    }
  }
  places_.push_back(search.installed);
  if (!search.installed.empty() && fs::is_directory(search.installed))
    add_folder(search.installed, "installed");
  settle_duplicates();
}

void PluginRegistry::add_folder(const fs::path& folder, const std::string& origin) {
  std::vector<fs::path> places{folder};
  for (const PluginKind kind : kPluginKinds)
    places.push_back(folder / (std::string(to_string(kind)) + "s"));
  for (const fs::path& place : places) {
    places_.push_back(place);
    std::error_code failure;
    std::vector<fs::path> files;
    for (fs::directory_iterator it(place, failure), end; !failure && it != end;
         it.increment(failure))
      if (it->path().extension() == ".so") files.push_back(it->path());
    // The order of a folder is arbitrary; the registry's is not.
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) add_file(file, origin);
  }
}

void PluginRegistry::add_file(const fs::path& file, const std::string& origin) {
  places_.push_back(file);
  std::error_code unreadable;
  places_.push_back(fs::canonical(file, unreadable).parent_path());
  for (const PluginEntry& entry : entries_)
    if (same_file(entry.file, file)) return;
  PluginEntry entry;
  entry.file = file;
  entry.origin = origin;
  entry.key = key_from_file_name(file);
  try {
    entry.note = read_plugin_note(file);
    entry.key = entry.note->key();
    check_plugin_trust(file);
    entry.why = incompatibility(*entry.note);
  } catch (const Error& error) {
    entry.why = reason(error, file);
  } catch (const std::exception& error) {
    entry.why = one_line(error.what());
  }
  entries_.push_back(std::move(entry));
}

void PluginRegistry::settle_duplicates() {
  std::map<std::string, std::array<std::vector<PluginEntry*>, 2>> by_key;  // --plugin, search path
  for (PluginEntry& entry : entries_)
    if (entry.note) by_key[entry.key][entry.origin == "--plugin" ? 0 : 1].push_back(&entry);

  for (auto& [key, found] : by_key) {
    auto& [given, searched] = found;
    for (auto* files : {&given, &searched}) {
      if (files->size() < 2) continue;
      for (PluginEntry* entry : *files) {
        const PluginEntry* other = entry == files->front() ? (*files)[1] : files->front();
        entry->why = "duplicate: " + key + " is also in " + other->file.string() +
                     "; remove or rename one of them";
      }
    }
    if (given.empty() || searched.empty()) continue;
    for (PluginEntry* entry : searched)
      entry->why = "overridden by --plugin " + given.front()->file.string();
    warnings_.push_back(key + ": --plugin " + given.front()->file.string() +
                        " is used instead of " + searched.front()->file.string());
  }
}

std::vector<std::string> PluginRegistry::names(PluginKind kind) const {
  std::vector<std::string> names;
  for (const PluginEntry& entry : entries_)
    if (entry.why.empty() && entry.note->kind == kind) names.push_back(entry.note->name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<const PluginEntry*> PluginRegistry::loaded() const {
  std::vector<const PluginEntry*> found;
  for (const PluginEntry& entry : entries_)
    if (entry.descriptor) found.push_back(&entry);
  return found;
}

const PluginEntry& PluginRegistry::find(PluginKind kind, const std::string& name) const {
  const std::string key = std::string(to_string(kind)) + "/" + name;
  const PluginEntry* unusable = nullptr;
  for (const PluginEntry& entry : entries_) {
    if (entry.key != key) continue;
    if (entry.why.empty()) return entry;
    if (!unusable) unusable = &entry;
  }
  if (unusable)
    throw PluginError(key + " cannot be used: " + unusable->file.string() + ": " + unusable->why);
  const std::vector<std::string> known = names(kind);
  throw usage_error("there is no " + std::string(to_string(kind)) + " '" + name + "'" +
                    did_you_mean(name, known) +
                    "; known: " + (known.empty() ? "none" : join(known, ", ")) +
                    " (linex list shows where plugins are looked for)");
}

const PluginEntry& PluginRegistry::load(PluginKind kind, const std::string& name) {
  auto& entry = const_cast<PluginEntry&>(find(kind, name));
  if (entry.descriptor) return entry;
  try {
    entry.descriptor = &load_plugin(entry.file, *entry.note);
  } catch (const Error& error) {
    entry.why = reason(error, entry.file);
    throw PluginError(entry.key + " cannot be used: " + error.what());
  }
  return entry;
}

OptionSpecs PluginRegistry::options(PluginKind kind, const std::string& name) {
  const linex_plugin_descriptor& descriptor = *load(kind, name).descriptor;
  return {descriptor.options, descriptor.option_count};
}

std::shared_ptr<void> create_object(const PluginEntry& plugin,
                                    std::shared_ptr<const PluginContext> context) {
  void* object = nullptr;
  std::array<char, 1024> text{};
  const int code = [&] {
    const PluginCall running(plugin.key, "create");
    return plugin.descriptor->create(context.get(), &object, text.data(), text.size());
  }();
  text.back() = '\0';
  if (code != 0 || !object) {
    const std::string why = one_line(text.data());
    for (const ErrorKind kind : {ErrorKind::usage, ErrorKind::input, ErrorKind::interrupted})
      if (code == static_cast<int>(kind)) throw Error(kind, why);
    throw PluginError(plugin.key + ": create: " + why);
  }
  const auto destroy = plugin.descriptor->destroy;
  return std::shared_ptr<void>(object, [destroy, context, key = plugin.key](void* ended) {
    const PluginCall running(key, "destroy");
    destroy(ended);
  });
}

}  // namespace linex
