// What `linex benchmark` is asked to do: its configuration as networks × methods.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/sections.hpp"

namespace linex {

/// Sections, and the names of them in the order of rows and columns (others follow by name).
struct BenchmarkConfiguration {
  Sections sections;
  std::vector<std::string> order;
};

struct BenchmarkNetwork {
  std::string name;
  std::map<std::string, std::string> model, data, units;  ///< keys over [model], [data], [units]
};

struct BenchmarkMethod {
  std::string name;
  std::string file;  ///< published explanations, or ""
  /// With their `plugin`, over the base's.
  std::map<std::string, std::string> labeler, solver, simulator;
};

struct BenchmarkPlan {
  Sections base;  ///< the sections every run shares
  std::vector<BenchmarkNetwork> networks;
  std::vector<BenchmarkMethod> methods;
};

/// Splits [network NAME] and [method NAME] from the rest; without them [model] is the network and
/// [labeler] with [solver] the method. Names are letters, digits and " ._()+-", since they become
/// folders. Throws Error(usage) for another name, a method with both file and solver, or one with
/// neither where there is no [solver].
BenchmarkPlan plan_benchmark(const BenchmarkConfiguration& configuration);

/// Names of every "network NAME.key" and "method NAME.key" there may be, given a first look.
std::vector<std::string> benchmark_keys(PluginRegistry& registry, const Sections& first_look);

/// The configuration of a network's shared stages (out/NETWORK) or of one run
/// (out/NETWORK/METHOD); all share out/cache. "{network}" in a method's values becomes the
/// network's name, for files that differ between networks.
Sections sections_of(const BenchmarkPlan& plan, const BenchmarkNetwork& network,
                     const std::filesystem::path& out);
Sections sections_of(const BenchmarkPlan& plan, const BenchmarkNetwork& network,
                     const BenchmarkMethod& method, const std::filesystem::path& out);

/// The method's file of explanations for a network, "" where it has none.
std::string file_of(const BenchmarkMethod& method, const BenchmarkNetwork& network);

/// All sections as an INI file, in their order; it names its files by absolute paths.
std::string to_ini(PluginRegistry& registry, const BenchmarkConfiguration& configuration);

}  // namespace linex
