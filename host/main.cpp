// The linex binary: a table of commands, and one place where errors become exit codes.
#include <ATen/core/Tensor.h>

#include <cstdio>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/benchmark_plan.hpp"
#include "core/run/console.hpp"
#include "core/run/workplace.hpp"
#include "host/arguments.hpp"
#include "host/commands.hpp"
#include "host/run_commands.hpp"
#include "linex/abi_tag.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace {

using linex::Arguments;
using linex::PluginRegistry;

struct Command {
  linex::CommandSyntax syntax;
  const char* does;
  std::function<int(PluginRegistry&, const Arguments&)> run;
};

std::string only_word(const Arguments& arguments, const Command& command) {
  if (arguments.words.size() == 1) return arguments.words.front();
  throw linex::usage_error("linex " + command.syntax.name + " needs one " + command.syntax.words);
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      {{"list", "", {"json"}, {}, false},
       "plugins found, by kind, and those that cannot be loaded, with why",
       [](auto& registry, const auto& arguments) {
         return run_list(registry, arguments.flags.at("json"));
       }},
      {{"inspect", "KIND/NAME", {}, {}, false},
       "what a plugin is, its options with type, default, range and help",
       [](auto& registry, const auto& arguments) {
         return run_inspect(registry, only_word(arguments, commands()[1]));
       }},
      {{"check", "FILE.so", {}, {"with", "skip", "external"}, false},
       "conformance of a plugin file (--with key=value,... sets its options; --skip CHECK,...), or "
       "of a command (--external KIND COMMAND)",
       [](const auto& registry, const auto& arguments) {
         linex::CheckRequest request{only_word(arguments, commands()[2]), {}, {}};
         const auto given = [&](const char* name) {
           const auto found = arguments.values.find(name);
           return found == arguments.values.end() ? "" : found->second;
         };
         request.options = linex::parse_check_options(given("with"));
         if (!given("skip").empty()) request.skip = linex::split(given("skip"), ',');
         if (!given("external").empty())
           return linex::run_check_external(registry, given("external"), request);
         return linex::run_check(request);
       }},
      {{"explain", "", {}, {}, true},
       "the main job: data, activations, concepts, explanations, scores",
       [](auto& registry, const auto& arguments) {
         return run_explain(registry, arguments.sections);
       }},
      {{"evaluate", "", {}, {"explanations"}, true},
       "scores for any explanation file (--explanations FILE.csv), ours or published",
       [](auto& registry, const auto& arguments) {
         const auto found = arguments.values.find("explanations");
         return run_evaluate(registry, arguments.sections,
                             found == arguments.values.end() ? "" : found->second);
       }},
      {{"activations", "", {}, {}, true},
       "activations of the chosen layers as .npy files",
       [](auto& registry, const auto& arguments) {
         return run_activations(registry, arguments.sections);
       }},
      {{"benchmark", "", {"world"}, {}, true},
       "several methods on several networks, one table with paired differences",
       [](auto& registry, const auto& arguments) {
         return run_benchmark(registry, {arguments.sections, arguments.order},
                              arguments.flags.at("world"));
       }},
      {{"analyse", "", {}, {"explanations"}, true},
       "where in their range units matter, what their range is made of, dead units",
       [](auto& registry, const auto& arguments) {
         const auto found = arguments.values.find("explanations");
         return run_analyse(registry, arguments.sections,
                            found == arguments.values.end() ? "" : found->second);
       }},
      {{"report", "DIR", {}, {}, false},
       "(re)builds the report of a run from its folder",
       [](auto& registry, const auto& arguments) {
         if (arguments.words.size() != 1)
           throw linex::usage_error("linex report needs one DIR, the run.out of a run");
         return run_report(registry, arguments.words.front());
       }},
      {{"concepts", "", {}, {}, true},
       "presence of the labeler's concepts as a .npy file",
       [](auto& registry, const auto& arguments) {
         return run_concepts(registry, arguments.sections);
       }},
      {{"calibrate", "", {}, {"max-share"}, true},
       "fits a and b of simulator.plugin (siglip, clip) to the labels of labeler.plugin",
       [](auto& registry, const auto& arguments) {
         const auto found = arguments.values.find("max-share");
         return run_calibrate(registry, arguments.sections,
                              found == arguments.values.end() ? "" : found->second);
       }},
      {{"demo", "", {"quick", "train-siglip"}, {}, true},
       "several methods on an embedded world; needs no file and no network connection",
       [](auto& registry, const auto& arguments) {
         return run_demo(registry, arguments.sections,
                         {arguments.flags.at("quick"), arguments.flags.at("train-siglip")});
       }},
      {{"milan-train", "", {}, {"captions", "epochs", "hidden"}, true},
       "trains a MILAN of your own (--captions FILE.csv: layer,unit,description)",
       [](auto& registry, const auto& arguments) {
         const auto given = [&](const char* name) {
           const auto found = arguments.values.find(name);
           return found == arguments.values.end() ? std::string() : found->second;
         };
         return run_milan_train(registry, arguments.sections,
                                {given("captions"), given("epochs"), given("hidden")});
       }},
  };
  return all;
}

void print_usage() {
  std::printf(
      "linex %s: explains neurons of vision networks as weighted sums of concepts\n\n"
      "usage: linex COMMAND [--config FILE.ini] [--section.key=value ...]\n\n",
      LINEX_VERSION);
  for (const auto& command : commands())
    std::printf("  %-12s %s\n", command.syntax.name.c_str(), command.does);
  std::printf(
      "\nlinex COMMAND --help tells a command's options; --version the version and the plugin "
      "ABI.\n"
      "Everywhere: --plugin FILE.so adds a plugin, --no-plugins-from-env ignores "
      "LINEX_PLUGIN_PATH.\n");
}

void print_help(const Command& command, PluginRegistry& registry, const Arguments& arguments) {
  std::string usage = "linex " + command.syntax.name;
  if (!command.syntax.words.empty()) usage += " " + command.syntax.words;
  for (const auto& flag : command.syntax.flags) usage += " [--" + flag + "]";
  for (const auto& value : command.syntax.values) usage += " --" + value + " VALUE";
  if (command.syntax.sections) usage += " [--config FILE.ini] [--section.key=value ...]";
  std::printf("%s\n  %s\n", usage.c_str(), command.does);
  if (command.syntax.sections)
    std::printf("%s", section_help(registry, arguments.sections).c_str());
}

int run(const std::vector<std::string>& words) {
  if (words.empty() || words.front() == "--help" || words.front() == "-h" ||
      words.front() == "help") {
    print_usage();
    return words.empty() ? static_cast<int>(linex::ErrorKind::usage) : 0;
  }
  if (words.front() == "--version") {
    std::printf("linex %s\nplugin ABI %s\n", LINEX_VERSION, linex::kAbiTag);
    return 0;
  }
  std::vector<std::string> names;
  for (const auto& command : commands()) names.push_back(command.syntax.name);
  for (const auto& command : commands()) {
    if (command.syntax.name != words.front()) continue;
    const std::vector<std::string> rest(words.begin() + 1, words.end());
    // Where to look for plugins stands on the same command line that plugins add options to.
    PluginRegistry registry(linex::parse_plugin_search(rest));
    const Arguments arguments = linex::parse_arguments(
        command.syntax, rest, [&](const linex::Sections& first_look) -> std::vector<std::string> {
          if (!command.syntax.sections) return {};
          auto keys = linex::known_keys(registry, first_look);
          if (command.syntax.name == "benchmark")
            for (auto& key : linex::benchmark_keys(registry, first_look))
              keys.push_back(std::move(key));
          return keys;
        });
    if (arguments.flags.at("help")) {
      print_help(command, registry, arguments);
      return 0;
    }
    return command.run(registry, arguments);
  }
  throw linex::usage_error("there is no command '" + words.front() + "'" +
                           linex::did_you_mean(words.front(), names) +
                           " (linex --help lists them)");
}

}  // namespace

int main(int argc, char** argv) {
  linex::install_interrupt_handler();
  int code = static_cast<int>(linex::ErrorKind::plugin);
  try {
    code = run({argv + 1, argv + argc});
  } catch (const linex::Error& error) {
    std::fprintf(stderr, "linex: %s\n", error.what());
    code = static_cast<int>(error.kind());
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "linex: %s\n", error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "linex: out of memory; lower run.memory or run.batch\n");
    code = static_cast<int>(linex::ErrorKind::input);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "linex: %s\n", error.what());
  }
  return code;
}
