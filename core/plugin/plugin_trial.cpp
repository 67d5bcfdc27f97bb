#include "core/plugin/plugin_trial.hpp"

#include <algorithm>

#include "core/plugin/mapped_files.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/plugin/plugin_loader.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "linex/option.hpp"

namespace linex {
namespace {

/// In the child: "usable", "why REASON" or "asks REASON".
std::string try_plugin(PluginEntry plugin) {
  try {
    plugin.descriptor = &load_plugin(plugin.file, *plugin.note);
    const auto* specs = plugin.descriptor->options;
    const std::size_t count = plugin.descriptor->option_count;
    if (std::any_of(specs, specs + count, [](const auto& spec) { return spec.required != 0; }))
      return "usable";
    create_object(plugin,
                  std::make_shared<conformance::TestContext>(option::defaults(specs, count)));
    return "usable";
  } catch (const Error& error) {
    const std::string start = plugin.file.string() + ": ", text = error.what();
    const std::string why =
        text.compare(0, start.size(), start) == 0 ? text.substr(start.size()) : text;
    return (error.kind() == ErrorKind::plugin ? "why " : "asks ") + one_line(why);
  }
}

}  // namespace

Trials try_plugins(const PluginRegistry& registry, const ChildOptions& options) {
  std::vector<const PluginEntry*> candidates;
  for (const PluginEntry& entry : registry.entries())
    if (entry.why.empty()) candidates.push_back(&entry);

  Trials trials;
  std::size_t next = 0;
  while (next < candidates.size()) {
    const std::size_t first = next;
    const auto work = [&](const Say& say) {
      for (std::size_t i = first; i < candidates.size(); ++i) say(try_plugin(*candidates[i]));
      for (const auto& file : mapped_files()) say("read " + file.string());
    };
    const auto on_line = [&](const std::string& line) {
      if (line.compare(0, 5, "read ") == 0) trials.read.emplace_back(line.substr(5));
      if (next >= candidates.size()) return;
      Trial& trial = trials.by_file[candidates[next++]->file];
      if (line.compare(0, 4, "why ") == 0) trial.why = line.substr(4);
      if (line.compare(0, 5, "asks ") == 0) trial.note = line.substr(5);
    };
    const std::string end = run_in_child(work, on_line, options);
    if (next < candidates.size())
      trials.by_file[candidates[next++]->file].why =
          "loading and creating it " + (end.empty() ? std::string("gave no answer") : end);
  }
  return trials;
}

}  // namespace linex
