#include <cstdio>

#include "core/plugin/child_process.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/run/console.hpp"
#include "host/commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

/// Options are known once the library is loaded, and loading runs its constructors: in a child.
std::string options_of(PluginRegistry& registry, const PluginNote& note) {
  std::string text, failure;
  const auto work = [&](const Say& say) {
    try {
      const OptionSpecs options = registry.options(note.kind, note.name);
      for (const auto& line : split_lines(format_options(options, to_string(note.kind))))
        say("+" + line);
    } catch (const Error& error) {
      say("-" + one_line(error.what()));
    }
  };
  const auto on_line = [&](const std::string& line) {
    (line[0] == '+' ? text : failure) += line.substr(1) + (line[0] == '+' ? "\n" : "");
  };
  ChildOptions options;
  options.patience = std::chrono::seconds(20);
  options.cancelled = interrupted;
  const std::string end = run_in_child(work, on_line, options);
  if (!failure.empty()) throw PluginError(failure);
  if (!end.empty()) throw PluginError(note.key() + ": load: it " + end);
  return text;
}

}  // namespace

int run_inspect(PluginRegistry& registry, const std::string& key) {
  const auto slash = key.find('/');
  if (slash == std::string::npos)
    throw usage_error("linex inspect needs KIND/NAME, such as solver/linear, not '" + key + "'");
  const PluginKind kind = plugin_kind_from_string(key.substr(0, slash));
  const PluginEntry& plugin = registry.find(kind, key.substr(slash + 1));
  const PluginNote& note = *plugin.note;
  const std::string options = options_of(registry, note);

  std::printf("%s %s\n  %s\n\n", note.key().c_str(), note.version.c_str(), note.summary.c_str());
  std::printf("file     %s (%s)\nsha256   %s\nlicense  %s\n", plugin.file.c_str(),
              plugin.origin.c_str(), sha256_of_file(plugin.file).c_str(), note.license.c_str());
  std::printf("API      %u.%u, %s interface revision %u\ntoolkit  %s\nABI      %s\n\n",
              note.raw.api_major, note.raw.api_minor, to_string(kind), note.raw.interface_revision,
              toolkit_text(note.raw.toolkit_version).c_str(), note.abi_tag.c_str());
  std::printf("%s%s", options.empty() ? "no options\n" : "options\n", options.c_str());
  return 0;
}

}  // namespace linex
