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
std::string json_text(const std::vector<Listed>& usable, const std::vector<Listed>& unusable) {
  nlohmann::ordered_json all;
  all["abi_tag"] = kAbiTag;
  all["plugins"] = nlohmann::ordered_json::array();
  all["unusable"] = nlohmann::ordered_json::array();
  for (const Listed& plugin : usable) all["plugins"].push_back(to_json(plugin));
  for (const Listed& plugin : unusable) all["unusable"].push_back(to_json(plugin));
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string plain_text(const std::vector<Listed>& usable, const std::vector<Listed>& unusable) {
  std::size_t name_width = 0, version_width = 0;
  for (const Listed& plugin : usable) {
    name_width = std::max(name_width, plugin.entry->note->name.size());
    version_width = std::max(version_width, plugin.entry->note->version.size());
  }
  std::string text;
  for (const PluginKind kind : kPluginKinds) {
    text += std::string(to_string(kind)) + "s\n";
    bool any = false;
    for (const Listed& plugin : usable) {
      const PluginNote& note = *plugin.entry->note;
      if (note.kind != kind) continue;
      any = true;
      text += "  " + padded(note.name, name_width) + "  " + padded(note.version, version_width) +
              "  " + note.summary;
      if (plugin.entry->origin != "installed") text += "  [" + plugin.entry->file.string() + "]";
      text += "\n";
      if (!plugin.trial.note.empty())
        text += "  " + padded("", name_width) + "  with its defaults: " + plugin.trial.note + "\n";
    }
    if (!any) text += "  none\n";
  }
  if (!unusable.empty()) text += "cannot be used\n";
  for (const Listed& plugin : unusable)
    text += "  " + (plugin.entry->key.empty() ? "?" : plugin.entry->key) + "  [" +
            plugin.entry->file.string() + "]\n    " + plugin.trial.why + "\n";
  return text;
}

}  // namespace

Answer list_plugins(const PluginRegistry& registry, bool json) {
  ChildOptions options;
  options.patience = std::chrono::seconds(20);
  options.cancelled = interrupted;
  const Trials trials = try_plugins(registry, options);
  Answer answer{"", registry.places(), true};
  answer.files.insert(answer.files.end(), trials.read.begin(), trials.read.end());
  std::vector<Listed> usable, unusable;
  for (const PluginEntry& entry : registry.entries()) {
    Trial trial{entry.why, ""};
    if (entry.why.empty()) {
      trial = trials.by_file.at(entry.file);
      // What went wrong while it ran may go well another time.
      answer.lasting = answer.lasting && trial.why.empty();
    }
    (trial.why.empty() ? usable : unusable).push_back({&entry, trial});
  }
  std::stable_sort(usable.begin(), usable.end(), [](const Listed& a, const Listed& b) {
    return std::make_pair(a.entry->note->kind, a.entry->note->name) <
           std::make_pair(b.entry->note->kind, b.entry->note->name);
  });
  for (const std::string& warning : registry.warnings())
    std::fprintf(stderr, "linex: warning: %s\n", warning.c_str());
  answer.text = json ? json_text(usable, unusable) : plain_text(usable, unusable);
  return answer;
}

}  // namespace linex
