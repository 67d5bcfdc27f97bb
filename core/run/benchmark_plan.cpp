#include "core/run/benchmark_plan.hpp"

#include <algorithm>
#include <cctype>
#include <functional>
#include <set>

#include "core/plugin/option_schema.hpp"
#include "core/run/ini.hpp"
#include "core/run/sections.hpp"
#include "linex/error.hpp"
#include "linex/option.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace {

using Keys = std::map<std::string, std::string>;

constexpr char kNetwork[] = "network ", kMethod[] = "method ";

/// The NAME of "[network NAME]", or "".
std::string name_after(const std::string& section, const std::string& kind) {
  if (section.rfind(kind, 0) != 0) return "";
  const std::string name = section.substr(kind.size());
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string(" _()+-").find(c) != std::string::npos;
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), fits))
    throw usage_error("[" + section +
                      "]: a name is letters, digits and ' _()+-', since it becomes a folder");
  return name;
}

/// Keys of `from` over those of `to`; another plugin starts afresh.
void overlay(Keys& to, const Keys& from) {
  const auto plugin = from.find("plugin");
  if (plugin != from.end() && to.count("plugin") && to["plugin"] != plugin->second) to.clear();
  for (const auto& [key, value] : from) to[key] = value;
}

/// Takes "labeler" and "labeler.KEY" of a method into the labeler's keys; false for other keys.
bool take(const std::string& key, const std::string& value, const std::string& part, Keys& keys) {
  if (key == part) return keys["plugin"] = value, true;
  if (key.rfind(part + ".", 0) != 0) return false;
  keys[key.substr(part.size() + 1)] = value;
  return true;
}

BenchmarkMethod read_method(const std::string& section, const std::string& name, const Keys& keys) {
  BenchmarkMethod method{name, "", {}, {}, {}};
  for (const auto& [key, value] : keys) {
    if (key == "file")
      method.file = value;
    else if (!take(key, value, "labeler", method.labeler) &&
             !take(key, value, "solver", method.solver) &&
             !take(key, value, "simulator", method.simulator))
      throw usage_error("[" + section + "]: unknown key '" + key + "'");
  }
  if (!method.file.empty() && !method.solver.empty())
    throw usage_error("[" + section + "]: give either a file of explanations or a solver");
  return method;
}

/// Names of all sections: those without an order of their own first.
std::vector<std::string> ordered(const BenchmarkConfiguration& configuration) {
  const auto& order = configuration.order;
  std::vector<std::string> names;
  for (const auto& entry : configuration.sections)
    if (std::find(order.begin(), order.end(), entry.first) == order.end())
      names.push_back(entry.first);
  for (const auto& name : order)
    if (configuration.sections.count(name)) names.push_back(name);
  return names;
}

std::string for_network(std::string text, const BenchmarkNetwork& network) {
  static const std::string kMark = "{network}";
  for (std::size_t at = 0; (at = text.find(kMark, at)) != std::string::npos;
       at += network.name.size())
    text.replace(at, kMark.size(), network.name);
  return text;
}

}  // namespace

BenchmarkPlan plan_benchmark(const BenchmarkConfiguration& configuration) {
  BenchmarkPlan plan;
  for (const auto& section : ordered(configuration)) {
    const Keys& keys = configuration.sections.at(section);
    if (const auto name = name_after(section, kNetwork); !name.empty()) {
      BenchmarkNetwork network{name, {}, {}, {}};
      for (const auto& [key, value] : keys) {
        if (key.rfind("data.", 0) == 0)
          network.data[key.substr(5)] = value;
        else if (key.rfind("units.", 0) == 0)
          network.units[key.substr(6)] = value;
        else
          network.model[key] = value;
      }
      plan.networks.push_back(std::move(network));
    } else if (const auto method = name_after(section, kMethod); !method.empty()) {
      plan.methods.push_back(read_method(section, method, keys));
    } else {
      plan.base[section] = keys;
    }
  }
  if (plan.networks.empty()) plan.networks.push_back({"network", {}, {}, {}});
  if (plan.methods.empty()) plan.methods.push_back({"method", "", {}, {}, {}});
  return plan;
}

namespace {

/// A key there may be ("network NAME.data.root"), its declaration and, for one of the host's own,
/// its section there ("data").
using SeeKey = std::function<void(const std::string& key, const std::string& host_section,
                                  const linex_option_spec& spec)>;

constexpr linex_option_spec kFileOfMethod = option::path("file", "", "published explanations");

constexpr linex_option_spec kFreeOption = option::text("free", "", "a command's own option");

void see_plugin_keys(PluginRegistry& registry, const Sections& first_look,
                     const std::string& prefix, PluginKind kind, const std::string& name,
                     const SeeKey& see) {
  if (name.empty()) return;
  std::set<std::string> seen;
  const OptionSpecs specs = registry.options(kind, name);
  for (const auto& spec : specs) {
    see(prefix + spec.name, "", spec);
    seen.insert(prefix + spec.name);
  }
  if (!takes_free_options(specs)) return;
  for (const auto& [section_name, given] : first_look)
    for (const auto& entry : given)
      if (const std::string key = section_name + "." + entry.first;
          key.compare(0, prefix.size(), prefix) == 0 && seen.insert(key).second)
        see(key, "", kFreeOption);
}

std::string text_of(const Sections& sections, const std::string& section, const std::string& key) {
  const auto found = sections.find(section);
  if (found == sections.end()) return "";
  const auto value = found->second.find(key);
  return value == found->second.end() ? "" : value->second;
}

/// Every key of [network NAME] and [method NAME].
void see_keys(PluginRegistry& registry, const Sections& first_look, const SeeKey& see) {
  const auto plugin = [&](const std::string& own, const std::string& shared,
                          const std::string& otherwise = "") {
    const std::string& chosen = own.empty() ? shared : own;
    return chosen.empty() ? otherwise : chosen;
  };
  for (const auto& [name, given] : first_look) {
    if (!name_after(name, kNetwork).empty()) {
      for (const auto& spec : section("model").keys) see(name + "." + spec.name, "model", spec);
      for (const char* part : {"data", "units"})
        for (const auto& spec : section(part).keys)
          see(name + "." + part + "." + spec.name, part, spec);
      see_plugin_keys(
          registry, first_look, name + ".", PluginKind::model,
          plugin(text_of(first_look, name, "plugin"), text_of(first_look, "model", "plugin")), see);
    } else if (!name_after(name, kMethod).empty()) {
      see(name + ".file", "", kFileOfMethod);
      for (const char* part : {"labeler", "solver", "simulator"}) {
        see(name + "." + part, part, section(part).keys.front());
        see_plugin_keys(registry, first_look, name + "." + part + ".",
                        plugin_kind_from_string(section(part).plugin_kind),
                        plugin(text_of(first_look, name, part), text_of(first_look, part, "plugin"),
                               section(part).keys.front().default_text),
                        see);
      }
    }
  }
}

}  // namespace

std::vector<std::string> benchmark_keys(PluginRegistry& registry, const Sections& first_look) {
  std::vector<std::string> keys;
  see_keys(registry, first_look,
           [&](const std::string& key, const auto&, const auto&) { keys.push_back(key); });
  return keys;
}

Sections sections_of(const BenchmarkPlan& plan, const BenchmarkNetwork& network,
                     const std::filesystem::path& out) {
  Sections sections = plan.base;
  overlay(sections["model"], network.model);
  overlay(sections["data"], network.data);
  overlay(sections["units"], network.units);
  auto& run = sections["run"];
  run["out"] = (out / network.name).string();
  if (!run.count("cache") || run["cache"].empty()) run["cache"] = (out / "cache").string();
  return sections;
}

Sections sections_of(const BenchmarkPlan& plan, const BenchmarkNetwork& network,
                     const BenchmarkMethod& method, const std::filesystem::path& out) {
  Sections sections = sections_of(plan, network, out);
  overlay(sections["labeler"], method.labeler);
  overlay(sections["solver"], method.solver);
  overlay(sections["simulator"], method.simulator);
  for (const char* name : {"labeler", "solver", "simulator", "evaluator"})
    for (auto& [key, value] : sections[name]) value = for_network(value, network);
  sections["run"]["out"] = (out / network.name / method.name).string();
  return sections;
}

std::string file_of(const BenchmarkMethod& method, const BenchmarkNetwork& network) {
  return for_network(method.file, network);
}

std::string to_ini(PluginRegistry& registry, const BenchmarkConfiguration& configuration) {
  Sections sections = configuration.sections;
  const SeeKey state_absolute = [&](const std::string& key, const std::string& host_section,
                                    const linex_option_spec& spec) {
    const auto dot = key.find('.');
    auto& keys = sections[key.substr(0, dot)];
    if (const auto found = keys.find(key.substr(dot + 1)); found != keys.end())
      found->second = absolute_text(spec, host_section, found->second);
  };
  see_keys(registry, configuration.sections, state_absolute);
  for (const auto& entry : linex::sections()) {
    for (const auto& spec : entry.keys)
      state_absolute(entry.name + "." + spec.name, entry.name, spec);
    if (entry.plugin_kind.empty()) continue;
    for (const auto& name : split(text_of(configuration.sections, entry.name, "plugin"), ','))
      if (const std::string plugin = trim(name); plugin != "none")
        see_plugin_keys(registry, configuration.sections, entry.name + ".",
                        plugin_kind_from_string(entry.plugin_kind), plugin, state_absolute);
  }
  std::string text = "# linex benchmark --config FILE runs this again.\n";
  for (const auto& name : ordered(configuration)) {
    const Keys& keys = sections.at(name);
    if (keys.empty()) continue;
    text += "\n" + ini_section(name);
    for (const auto& [key, value] : keys) text += ini_entry(key, value);
  }
  return text;
}

}  // namespace linex
