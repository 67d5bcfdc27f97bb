#include "host/launcher/command_table.hpp"

#include <algorithm>

#include "linex/abi_tag.hpp"

namespace linex {

const std::vector<CommandEntry>& command_table() {
  static const std::vector<CommandEntry> all{
      {{"list", "", {"json"}, {}, false},
       "plugins found, by kind, and those that cannot be loaded, with why"},
      {{"inspect", "KIND/NAME", {"markdown", "man", "bash", "zsh"}, {}, false},
       "what a plugin is, its options with type, default, range and help; or, of all commands and "
       "options, the reference (--markdown), the manual page (--man), completions (--bash, --zsh)"},
      {{"check",
        "FILE.so",
        {},
        {"with", "skip", "allow-skipped", "timeout", "write-data", "external"},
        false},
       "conformance of a plugin file (--with key=value,... sets its options; --skip CHECK,... "
       "leaves "
       "checks out; --allow-skipped CHECK,... lets them leave themselves out; --timeout SECONDS "
       "for "
       "each), or of a command (--external KIND COMMAND); --write-data DIR instead writes the data "
       "that it runs on"},
      {{"explain", "", {}, {"export"}, true},
       "the main job: data, activations, concepts, explanations, scores (--export FORMAT,... as "
       "linex export)",
       true},
      {{"evaluate", "", {}, {"explanations"}, true},
       "scores for any explanation file (--explanations FILE.csv), ours or published",
       true},
      {{"activations", "", {}, {}, true}, "activations of the chosen layers as .npy files", true},
      {{"benchmark", "", {"world"}, {}, true},
       "several methods on several networks, one table with paired differences",
       true},
      {{"analyse", "", {}, {"explanations"}, true},
       "where in their range units matter, what their range is made of, dead units"},
      {{"report", "DIR", {}, {}, false}, "(re)builds the report of a run from its folder"},
      {{"find", "DIR TEXT", {"json"}, {"top"}, false},
       "units of a finished run whose explanation says TEXT, best first (--top N, 10)"},
      {{"export", "DIR FORMAT", {}, {}, false},
       "a finished run as jsonl, neuronpedia, exemplars, latex, svg or pdf (a comma list), in "
       "DIR/export"},
      {{"concepts", "", {}, {}, true}, "presence of the labeler's concepts as a .npy file", true},
      {{"calibrate", "", {}, {"max-share"}, true},
       "fits a and b of simulator.plugin (siglip, clip) to the labels of labeler.plugin"},
      {{"demo", "", {"quick", "train-siglip"}, {}, true},
       "several methods on an embedded world; needs no file and no network connection"},
      {{"milan-train", "", {}, {"captions", "epochs", "hidden"}, true},
       "trains a MILAN of your own (--captions FILE.csv: layer,unit,description)"}};
  return all;
}

std::string usage_text() {
  std::string text = "linex " LINEX_VERSION
                     ": explains neurons of vision networks as weighted sums of concepts\n\n"
                     "usage: linex COMMAND [--config FILE.ini] [--section.key=value ...]\n\n";
  for (const CommandEntry& command : command_table()) {
    std::string name = command.syntax.name;
    name.resize(std::max<std::size_t>(name.size(), 12), ' ');
    text += "  " + name + " " + command.does + "\n";
  }
  return text +
         "\nlinex COMMAND --help tells a command's options; --version the version and the plugin "
         "ABI.\n"
         "Everywhere: --plugin FILE.so adds a plugin, --no-plugins-from-env ignores "
         "LINEX_PLUGIN_PATH.\n";
}

std::string version_text() {
  return "linex " LINEX_VERSION "\nplugin ABI " + std::string(kAbiTag) + "\n";
}

std::string text_without_plugins(const std::vector<std::string>& words) {
  if (words.size() != 1) return "";
  const std::string& word = words.front();
  if (word == "--help" || word == "-h" || word == "help") return usage_text();
  return word == "--version" ? version_text() : "";
}

}  // namespace linex
