#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/plugin/plugin_trial.hpp"
#include "core/run/console.hpp"
#include "host/commands.hpp"
#include "linex/abi_tag.hpp"

namespace linex {
namespace {

struct Listed {
  const PluginEntry* entry;
  Trial trial;
};

nlohmann::ordered_json to_json(const Listed& plugin) {
  const PluginEntry& entry = *plugin.entry;
  nlohmann::ordered_json row;
  if (!entry.key.empty()) {
    row["kind"] = entry.key.substr(0, entry.key.find('/'));
    row["name"] = entry.key.substr(entry.key.find('/') + 1);
  }
  if (entry.note) {
    row["version"] = entry.note->version;
    row["summary"] = entry.note->summary;
    row["license"] = entry.note->license;
  }
  row["file"] = entry.file.string();
  row["origin"] = entry.origin;
  if (!plugin.trial.note.empty()) row["note"] = plugin.trial.note;
  if (!plugin.trial.why.empty()) row["why"] = plugin.trial.why;
  return row;
}

/// File names may hold any byte; the list stays valid JSON.
void print_json(const std::vector<Listed>& usable, const std::vector<Listed>& unusable) {
  nlohmann::ordered_json all;
  all["abi_tag"] = kAbiTag;
  all["plugins"] = nlohmann::ordered_json::array();
  all["unusable"] = nlohmann::ordered_json::array();
  for (const Listed& plugin : usable) all["plugins"].push_back(to_json(plugin));
  for (const Listed& plugin : unusable) all["unusable"].push_back(to_json(plugin));
  std::printf("%s\n",
              all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void print_text(const std::vector<Listed>& usable, const std::vector<Listed>& unusable) {
  std::size_t name_width = 0, version_width = 0;
  for (const Listed& plugin : usable) {
    name_width = std::max(name_width, plugin.entry->note->name.size());
    version_width = std::max(version_width, plugin.entry->note->version.size());
  }
  for (const PluginKind kind : kPluginKinds) {
    std::printf("%ss\n", to_string(kind));
    bool any = false;
    for (const Listed& plugin : usable) {
      const PluginNote& note = *plugin.entry->note;
      if (note.kind != kind) continue;
      any = true;
      std::printf("  %-*s  %-*s  %s", static_cast<int>(name_width), note.name.c_str(),
                  static_cast<int>(version_width), note.version.c_str(), note.summary.c_str());
      if (plugin.entry->origin != "installed") std::printf("  [%s]", plugin.entry->file.c_str());
      std::printf("\n");
      if (!plugin.trial.note.empty())
        std::printf("  %-*s  with its defaults: %s\n", static_cast<int>(name_width), "",
                    plugin.trial.note.c_str());
    }
    if (!any) std::printf("  none\n");
  }
  if (unusable.empty()) return;
  std::printf("cannot be used\n");
  for (const Listed& plugin : unusable) {
    const std::string key = plugin.entry->key.empty() ? "?" : plugin.entry->key;
    std::printf("  %s  [%s]\n    %s\n", key.c_str(), plugin.entry->file.c_str(),
                plugin.trial.why.c_str());
  }
}

}  // namespace

int run_list(const PluginRegistry& registry, bool json) {
  ChildOptions options;
  options.patience = std::chrono::seconds(20);
  options.cancelled = interrupted;
  const auto trials = try_plugins(registry, options);
  std::vector<Listed> usable, unusable;
  for (const PluginEntry& entry : registry.entries()) {
    Trial trial{entry.why, ""};
    if (entry.why.empty()) trial = trials.at(entry.file);
    (trial.why.empty() ? usable : unusable).push_back({&entry, trial});
  }
  std::stable_sort(usable.begin(), usable.end(), [](const Listed& a, const Listed& b) {
    return std::make_pair(a.entry->note->kind, a.entry->note->name) <
           std::make_pair(b.entry->note->kind, b.entry->note->name);
  });
  for (const std::string& warning : registry.warnings())
    std::fprintf(stderr, "linex: warning: %s\n", warning.c_str());
  if (json)
    print_json(usable, unusable);
  else
    print_text(usable, unusable);
  return 0;
}

}  // namespace linex
