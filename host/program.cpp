#include "host/program.hpp"

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cluster/launch.hpp"
#include "core/cluster/run_cluster.hpp"
#include "core/plugin/mapped_files.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/plugin/plugin_registry.hpp"
#include "core/run/benchmark_plan.hpp"
#include "core/run/console.hpp"
#include "core/run/device.hpp"
#include "core/run/finished.hpp"
#include "core/run/found_models.hpp"
#include "core/run/workplace.hpp"
#include "host/arguments.hpp"
#include "host/commands.hpp"
#include "host/launcher/command_table.hpp"
#include "host/reference.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace {

using linex::Answer;
using linex::Arguments;
using linex::PluginRegistry;

/// The word of a command whose syntax asks for one.
std::string only_word(const Arguments& arguments) {
  if (arguments.words.size() == 1) return arguments.words.front();
  throw linex::usage_error("linex " + arguments.syntax.name + " needs one " +
                           arguments.syntax.words);
}

/// The text of --NAME, "" where it was not given.
std::string value_of(const Arguments& arguments, const char* name) {
  const auto found = arguments.values.find(name);
  return found == arguments.values.end() ? "" : found->second;
}

/// Names of checks out of a comma list. Some hold a comma ("same input, same bytes"): every run of
/// neighbouring parts counts as a name too.
std::vector<std::string> names_of(const std::string& list) {
  const auto parts = linex::split(list, ',');
  std::vector<std::string> names;
  for (std::size_t first = 0; first < parts.size(); ++first) {
    std::string name;
    for (std::size_t last = first; last < parts.size(); ++last) {
      name += (last > first ? "," : "") + parts[last];
      names.push_back(linex::trim(name));
    }
  }
  return names;
}

int check(const PluginRegistry& registry, const Arguments& arguments) {
  const std::string data = value_of(arguments, "write-data");
  if (!data.empty()) return linex::run_write_check_data(data);
  linex::CheckRequest request;
  request.file = only_word(arguments);
  request.options = linex::parse_check_options(value_of(arguments, "with"));
  request.skip = names_of(value_of(arguments, "skip"));
  request.allow_skipped = names_of(value_of(arguments, "allow-skipped"));
  const std::string timeout = value_of(arguments, "timeout");
  if (!timeout.empty()) {
    if (timeout.size() > 6 || timeout.find_first_not_of("0123456789") != std::string::npos ||
        std::stoi(timeout) == 0)
      throw linex::usage_error("--timeout=" + timeout + " is not a number of seconds");
    request.timeout = std::chrono::seconds(std::stoi(timeout));
  }
  const std::string kind = value_of(arguments, "external");
  if (!kind.empty()) return linex::run_check_external(registry, kind, request);
  return linex::run_check(request);
}

/// Prints an answer and, once it has got through, keeps it for the next call with the same words.
void give(const std::vector<std::string>& words, const Answer& answer) {
  std::fwrite(answer.text.data(), 1, answer.text.size(), stdout);
  linex::finish_standard_output();
  std::error_code failed;
  linex::keep_answer(std::filesystem::read_symlink("/proc/self/exe", failed), words, answer);
}

/// What does the work of an entry of command_table() that has no answer_to().
using Work = std::function<int(PluginRegistry&, const Arguments&)>;

Work work_of(const std::string& command) {
  static const std::map<std::string, Work> all{
      {"check",
       [](const auto& registry, const auto& arguments) { return check(registry, arguments); }},
      {"explain",
       [](auto& registry, const auto& arguments) {
         return run_explain(registry, arguments.sections, value_of(arguments, "export"));
       }},
      {"evaluate",
       [](auto& registry, const auto& arguments) {
         return run_evaluate(registry, arguments.sections, value_of(arguments, "explanations"));
       }},
      {"activations",
       [](auto& registry, const auto& arguments) {
         return run_activations(registry, arguments.sections);
       }},
      {"benchmark",
       [](auto& registry, const auto& arguments) {
         return run_benchmark(registry, {arguments.sections, arguments.order},
                              arguments.flags.at("world"));
       }},
      {"analyse",
       [](auto& registry, const auto& arguments) {
         return run_analyse(registry, arguments.sections, value_of(arguments, "explanations"));
       }},
      {"report", [](auto& registry,
                    const auto& arguments) { return run_report(registry, only_word(arguments)); }},
      {"find",
       [](auto& registry, const auto& arguments) {
         if (arguments.words.size() != 2)
           throw linex::usage_error(
               "linex find needs the folder of a run and a text, as: linex find DIR 'red stripes'");
         return run_find(registry, arguments.words[0], arguments.words[1],
                         value_of(arguments, "top"), arguments.flags.at("json"));
       }},
      {"export",
       [](auto& registry, const auto& arguments) {
         if (arguments.words.size() != 2)
           throw linex::usage_error(
               "linex export needs the folder of a run and a format, as: linex export DIR jsonl");
         return run_export(registry, arguments.words[0], arguments.words[1]);
       }},
      {"concepts",
       [](auto& registry, const auto& arguments) {
         return run_concepts(registry, arguments.sections);
       }},
      {"calibrate",
       [](auto& registry, const auto& arguments) {
         return run_calibrate(registry, arguments.sections, value_of(arguments, "max-share"));
       }},
      {"demo",
       [](auto& registry, const auto& arguments) {
         return run_demo(registry, arguments.sections,
                         {arguments.flags.at("quick"), arguments.flags.at("train-siglip")});
       }},
      {"milan-train", [](auto& registry, const auto& arguments) {
         return run_milan_train(registry, arguments.sections,
                                {value_of(arguments, "captions"), value_of(arguments, "epochs"),
                                 value_of(arguments, "hidden")});
       }}};
  return all.at(command);
}

Answer inspect(PluginRegistry& registry, const Arguments& arguments) {
  constexpr std::pair<const char*, std::string (*)(const linex::Reference&)> kForms[] = {
      {"markdown", linex::to_markdown},
      {"man", linex::to_manual},
      {"bash", linex::to_bash},
      {"zsh", linex::to_zsh}};
  for (const auto& [flag, write] : kForms) {
    if (!arguments.flags.at(flag)) continue;
    if (!arguments.words.empty())
      throw linex::usage_error(std::string("linex inspect --") + flag + " is about all plugins");
    const linex::Reference reference =
        linex::make_reference(registry, linex::command_table(), LINEX_VERSION);
    Answer answer{write(reference), registry.places(), true};
    answer.files.insert(answer.files.end(), reference.read.begin(), reference.read.end());
    return answer;
  }
  return linex::inspect_plugin(registry, only_word(arguments));
}

Answer help_of(const linex::CommandEntry& command, PluginRegistry& registry,
               const Arguments& arguments) {
  Answer answer{"linex " + command.syntax.name, registry.places(), true};
  if (!command.syntax.words.empty()) answer.text += " " + command.syntax.words;
  for (const auto& flag : command.syntax.flags) answer.text += " [--" + flag + "]";
  for (const auto& value : command.syntax.values) answer.text += " --" + value + " VALUE";
  if (command.syntax.sections) answer.text += " [--config FILE.ini] [--section.key=value ...]";
  answer.text += "\n  " + command.does + "\n";
  if (command.syntax.sections) answer.text += section_help(registry, arguments.sections);
  const auto read = linex::mapped_files();
  answer.files.insert(answer.files.end(), read.begin(), read.end());
  return answer;
}

/// Of what is only asked: help, list, inspect.
std::optional<Answer> answer_to(const linex::CommandEntry& command, PluginRegistry& registry,
                                const Arguments& arguments) {
  if (arguments.flags.at("help")) return help_of(command, registry, arguments);
  if (command.syntax.name == "list")
    return linex::list_plugins(registry, arguments.flags.at("json"));
  if (command.syntax.name == "inspect") return inspect(registry, arguments);
  return std::nullopt;
}

/// Before there is a logger; run.log-level holds all the same.
void warn(const Arguments& arguments) {
  const auto run = arguments.sections.find("run");
  if (run != arguments.sections.end())
    if (const auto level = run->second.find("log-level"); level != run->second.end())
      if (level->second == "error" || level->second == "off") return;
  for (const std::string& warning : arguments.warnings)
    std::fprintf(stderr, "linex: warning: %s\n", warning.c_str());
}

int run(const std::vector<std::string>& words) {
  const bool first = linex::launch().rank == 0;
  if (words.empty()) {
    if (first) std::fputs(linex::usage_text().c_str(), stdout);
    return static_cast<int>(linex::ErrorKind::usage);
  }
  if (const std::string text = linex::text_without_plugins({words.front()}); !text.empty()) {
    if (first) std::fputs(text.c_str(), stdout);
    return 0;
  }
  std::vector<std::string> names;
  for (const auto& command : linex::command_table()) names.push_back(command.syntax.name);
  for (const auto& command : linex::command_table()) {
    if (command.syntax.name != words.front()) continue;
    if (!command.shared) {
      // Once is enough; the launcher waits for the rank that does it.
      if (linex::launch().rank != 0) return 0;
      linex::join_cluster("none");
    }
    const std::vector<std::string> rest(words.begin() + 1, words.end());
    // Where to look for plugins stands on the same command line that plugins add options to.
    PluginRegistry registry(linex::parse_plugin_search(rest));
    Arguments arguments = linex::parse_arguments(
        command.syntax, rest, [&](const linex::Sections& given) -> std::vector<std::string> {
          if (!command.syntax.sections) return {};
          const linex::Sections first_look = linex::with_found_models(given, false);
          auto keys = linex::known_keys(registry, first_look);
          if (command.syntax.name == "benchmark")
            for (auto& key : linex::benchmark_keys(registry, first_look))
              keys.push_back(std::move(key));
          return keys;
        });
    const bool help = arguments.flags.at("help");
    if (command.syntax.sections)
      arguments.sections = linex::with_found_models(arguments.sections, !help);
    if (!help && first) warn(arguments);
    try {
      if (const auto answer = answer_to(command, registry, arguments)) {
        // Warnings would be missing from an answer that is kept.
        if (first)
          give(words,
               {answer->text, answer->files, answer->lasting && registry.warnings().empty()});
        return 0;
      }
      return work_of(command.syntax.name)(registry, arguments);
    } catch (const linex::Error& error) {
      if (error.kind() != linex::ErrorKind::usage) throw;
      throw linex::usage_error(linex::with_origin(arguments, error.what()));
    }
  }
  throw linex::usage_error("there is no command '" + words.front() + "'" +
                           linex::did_you_mean(words.front(), names) +
                           " (linex --help lists them)");
}

/// The end of a process that failed with `line`.
int fail(const std::string& line, int code) {
  // Ranks of a cluster end together, and one of them says why.
  linex::RunCluster* const cluster = linex::joined_cluster();
  if (cluster && cluster->several()) cluster->fail(line, code);
  // Before that all ranks read the same words: rank 0 speaks for them, and ends them.
  if (!cluster && linex::launch().rank != 0) {
    std::this_thread::sleep_for(std::chrono::seconds(5));
    std::fprintf(stderr, "linex: rank %d on %s: %s\n", linex::launch().rank,
                 linex::host_name().c_str(), line.c_str());
    return code;
  }
  std::fprintf(stderr, "linex: %s\n", line.c_str());
  return code;
}

}  // namespace

namespace linex {

// The one place where errors become exit codes.
int run_program(int argc, char** argv) {
  linex::hold_standard_streams();
  linex::ask_for_reproducible_kernels();
  linex::install_interrupt_handler();
  linex::install_crash_handler();
  constexpr int kInput = static_cast<int>(linex::ErrorKind::input);
  constexpr int kPlugin = static_cast<int>(linex::ErrorKind::plugin);
  try {
    int code = 0;
    try {
      code = run({argv + 1, argv + argc});
    } catch (const linex::Finished&) {
    }
    linex::finish_standard_output();
    if (linex::RunCluster* const cluster = linex::joined_cluster()) cluster->finish();
    return code;
  } catch (const linex::Error& error) {
    return fail(error.what(), static_cast<int>(error.kind()));
  } catch (const c10::Error& error) {
    return fail(linex::one_line(error.what_without_backtrace()), kPlugin);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; lower run.memory or run.batch", kInput);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(linex::one_line(error.what()), kInput);
  } catch (const std::exception& error) {
    return fail(linex::one_line(error.what()), kPlugin);
  }
}

}  // namespace linex
