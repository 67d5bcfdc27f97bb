#include "core/plugin/child_process.hpp"
#include "core/plugin/mapped_files.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/run/console.hpp"
#include "host/commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

/// Options are known once the library is loaded, and loading runs its constructors: in a child.
/// What they were read from is added to `read`.
std::string options_of(PluginRegistry& registry, const PluginNote& note,
                       std::vector<std::filesystem::path>& read) {
  std::string text, failure;
  const auto work = [&](const Say& say) {
    try {
      const OptionSpecs options = registry.options(note.kind, note.name);
      for (const auto& line : split_lines(format_options(options, to_string(note.kind))))
        say("+" + line);
      for (const auto& file : mapped_files()) say("/" + file.string());
    } catch (const Error& error) {
      say("-" + one_line(error.what()));
    }
  };
  const auto on_line = [&](const std::string& line) {
    if (line[0] == '/')
      read.emplace_back(line.substr(1));
    else
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

Answer inspect_plugin(PluginRegistry& registry, const std::string& key) {
  const auto slash = key.find('/');
  if (slash == std::string::npos)
    throw usage_error("linex inspect needs KIND/NAME, such as solver/linear, not '" + key + "'");
  const PluginKind kind = plugin_kind_from_string(key.substr(0, slash));
  const PluginEntry& plugin = registry.find(kind, key.substr(slash + 1));
  const PluginNote& note = *plugin.note;
  Answer answer{"", registry.places(), true};
  const std::string options = options_of(registry, note, answer.files);

  const linex_plugin_note& raw = note.raw;
  answer.text = note.key() + " " + note.version + "\n  " + note.summary + "\n\nfile     " +
                plugin.file.string() + " (" + plugin.origin + ")\nsha256   " +
                sha256_of_file(plugin.file) + "\nlicense  " + note.license + "\nAPI      " +
                std::to_string(raw.api_major) + "." + std::to_string(raw.api_minor) + ", " +
                to_string(kind) + " interface revision " + std::to_string(raw.interface_revision) +
                "\ntoolkit  " + toolkit_text(raw.toolkit_version) + "\nABI      " + note.abi_tag +
                "\n\n" + (options.empty() ? "no options\n" : "options\n" + options);
  return answer;
}

}  // namespace linex
