#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "core/plugin/child_process.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/run/console.hpp"
#include "host/commands.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using conformance::Check;
using conformance::Outcome;
using conformance::Setup;

constexpr const char* kWords[] = {"passed", "FAILED", "skipped"};

/// The kit hands out contexts that outlive what they make; the registry wants to share them.
template <class Interface>
conformance::Make<Interface> maker(PluginRegistry& registry, const std::string& name) {
  return [&registry, name](const PluginContext& context) {
    return registry.create<Interface>(
        name, std::shared_ptr<const PluginContext>(std::shared_ptr<void>(), &context));
  };
}

void run_kit(PluginRegistry& registry, const PluginEntry& plugin, const Setup& setup) {
  const std::string& name = plugin.note->name;
  switch (plugin.note->kind) {
    case PluginKind::model:
      conformance::check_model(maker<TargetModel>(registry, name), setup);
      break;
    case PluginKind::labeler:
      conformance::check_labeler(maker<ConceptLabeler>(registry, name), setup);
      break;
    case PluginKind::solver:
      conformance::check_solver(maker<SparseSolver>(registry, name), setup);
      break;
    case PluginKind::evaluator:
      conformance::check_evaluator(maker<Evaluator>(registry, name), setup);
      break;
  }
}

/// Catches standard output while it lives.
class StandardOutputBytes {
 public:
  StandardOutputBytes() : file_(std::tmpfile()), before_(::dup(STDOUT_FILENO)) {
    if (file_) ::dup2(::fileno(file_), STDOUT_FILENO);
  }
  ~StandardOutputBytes() {
    std::fflush(stdout);
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
    if (file_) std::fclose(file_);
  }
  StandardOutputBytes(const StandardOutputBytes&) = delete;
  StandardOutputBytes& operator=(const StandardOutputBytes&) = delete;
  std::int64_t count() const {
    std::fflush(stdout);
    struct stat info {};
    return file_ && ::fstat(::fileno(file_), &info) == 0 ? info.st_size : 0;
  }

 private:
  std::FILE* file_;
  int before_;
};

/// In the child: says "> NAME" when a check starts, and "0|1|2 NAME: DETAIL" when it is done.
void check_in_child(const CheckRequest& request, PluginRegistry& registry,
                    const PluginEntry& plugin, const Say& say) {
  const auto report = [&](const Check& check) {
    say(std::to_string(static_cast<int>(check.outcome)) + " " + check.name +
        (check.detail.empty() ? "" : ": " + one_line(check.detail)));
  };
  Setup setup;
  setup.quirks.skip = request.skip;
  setup.before = [&](const std::string& name) { say("> " + name); };
  setup.after = report;

  setup.before("load");
  OptionSpecs specs;
  try {
    const StandardOutputBytes written;  // the kit watches what comes later
    specs = registry.options(plugin.note->kind, plugin.note->name);
    if (const auto bytes = written.count(); bytes > 0)
      return report({"load", Outcome::failed,
                     std::to_string(bytes) + " bytes were written to standard output"});
    report({"load", Outcome::passed, ""});
  } catch (const Error& error) {
    return report({"load", Outcome::failed, error.what()});
  }
  setup.before("options");
  try {
    setup.options =
        resolve_options(specs, request.options, to_string(plugin.note->kind), plugin.key).values;
    report({"options", Outcome::passed, ""});
  } catch (const Error& error) {
    if (!request.options.empty()) return report({"options", Outcome::failed, error.what()});
    return report({"options", Outcome::skipped,
                   std::string(error.what()) + "; so no check of a " +
                       to_string(plugin.note->kind) + " was run"});
  }
  run_kit(registry, plugin, setup);
}

}  // namespace

std::map<std::string, std::string> parse_check_options(const std::string& text) {
  std::map<std::string, std::string> options;
  std::string key;
  for (const std::string& part : split(text, ',')) {
    const auto equals = part.find('=');
    if (equals != std::string::npos && equals > 0) {
      key = part.substr(0, equals);
      options[key] = part.substr(equals + 1);
    } else if (!key.empty()) {
      options[key] += "," + part;
    } else if (!text.empty()) {
      throw usage_error("--with takes key=value,key=value, not '" + text + "'");
    }
  }
  return options;
}

int run_check(const CheckRequest& request) {
  if (!std::filesystem::exists(request.file))
    throw input_error("there is no file " + request.file.string());
  PluginSearch only_this;
  only_this.files = {request.file};
  only_this.from_environment = false;
  only_this.installed.clear();
  PluginRegistry registry(only_this);
  const PluginEntry& plugin = registry.entries().front();

  std::array<int, 3> counts{};
  const auto print = [&](Outcome outcome, const std::string& text) {
    ++counts[static_cast<std::size_t>(outcome)];
    std::printf("  %-7s  %s\n", kWords[static_cast<int>(outcome)], text.c_str());
    std::fflush(stdout);
  };
  std::printf("%s  [%s]\n", plugin.note ? plugin.key.c_str() : "?", plugin.file.c_str());
  if (!plugin.why.empty()) {
    print(Outcome::failed, "note: " + plugin.why);
    return static_cast<int>(ErrorKind::plugin);
  }
  print(Outcome::passed, "note");

  std::string running;
  std::vector<std::string> unstated;
  const auto is_stated = [&](const std::string& name) {
    for (const auto* names : {&request.skip, &request.allow_skipped})
      if (std::find(names->begin(), names->end(), name) != names->end()) return true;
    return false;
  };
  const auto on_line = [&](const std::string& line) {
    if (line.size() < 3) return;
    if (line[0] == '>') {
      running = line.substr(2);
    } else if (line[0] >= '0' && line[0] <= '2') {
      const auto outcome = static_cast<Outcome>(line[0] - '0');
      if (outcome == Outcome::skipped && !is_stated(running)) unstated.push_back(running);
      running.clear();
      print(outcome, line.substr(2));
    }
  };
  ChildOptions options;
  options.patience = request.timeout;
  options.quiet = false;
  options.cancelled = interrupted;
  const std::string end = run_in_child(
      [&](const Say& say) { check_in_child(request, registry, plugin, say); }, on_line, options);
  if (!end.empty()) print(Outcome::failed, (running.empty() ? "end" : running) + ": it " + end);

  std::printf("%s: %d passed, %d failed, %d skipped\n", plugin.key.c_str(), counts[0], counts[1],
              counts[2]);
  if (!unstated.empty())
    std::printf(
        "not checked: %s; give what is missing (--with key=value,...) or state it: "
        "--allow-skipped \"%s\"\n",
        join(unstated, ", ").c_str(), join(unstated, ",").c_str());
  return counts[1] == 0 && unstated.empty() ? 0 : static_cast<int>(ErrorKind::plugin);
}

int run_check_external(const PluginRegistry& registry, const std::string& kind,
                       const CheckRequest& request) {
  CheckRequest adapter = request;
  adapter.file = registry.find(plugin_kind_from_string(kind), "external").file;
  adapter.options["command"] = request.file.string();
  // What the protocol has no word for.
  for (const char* check : {"linear head", "ones equal the values"})
    adapter.allow_skipped.emplace_back(check);
  return run_check(adapter);
}

}  // namespace linex
