#include <cstdio>

#include "host/commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"

namespace linex {

int run_inspect(PluginRegistry& registry, const std::string& key) {
  const auto slash = key.find('/');
  if (slash == std::string::npos)
    throw usage_error("linex inspect needs KIND/NAME, such as solver/linear, not '" + key + "'");
  const PluginKind kind = plugin_kind_from_string(key.substr(0, slash));
  const PluginEntry& plugin = registry.load(kind, key.substr(slash + 1));
  const PluginNote& note = *plugin.note;
  const OptionSpecs options = registry.options(kind, note.name);

  std::printf("%s %s\n  %s\n\n", note.key().c_str(), note.version.c_str(), note.summary.c_str());
  std::printf("file     %s (%s)\nsha256   %s\nlicense  %s\n", plugin.file.c_str(),
              plugin.origin.c_str(), sha256_of_file(plugin.file).c_str(), note.license.c_str());
  std::printf("API      %u.%u, %s interface revision %u\ntoolkit  %s\nABI      %s\n\n",
              note.raw.api_major, note.raw.api_minor, to_string(kind), note.raw.interface_revision,
              toolkit_text(note.raw.toolkit_version).c_str(), note.abi_tag.c_str());
  if (options.size() == 0)
    std::printf("no options\n");
  else
    std::printf("options\n%s", format_options(options, to_string(kind)).c_str());
  return 0;
}

}  // namespace linex
