// linex benchmark: several methods on several networks, one table.
//
//   [network NAME]  plugin, layer, pool and the model plugin's options; data.KEY overrides [data]
//   [method NAME]   file = FILE.csv, or labeler = PLUGIN and solver = PLUGIN with their options as
//                   labeler.KEY and solver.KEY, its own simulator too; "{network}" in a value is
//                   the network's name
//
// --world needs no configuration: seven methods on three networks of the embedded world.
// Everything else is as for explain, and shared: [data], [evaluator], [simulator], [run].
#include <cstdio>

#include "core/run/benchmark.hpp"
#include "host/demo/benchmark_world.hpp"
#include "host/run_commands.hpp"

namespace linex {

int run_benchmark(PluginRegistry& registry, const BenchmarkConfiguration& given, bool world) {
  const auto outcome =
      benchmark_run(registry, world ? world_benchmark(registry, given.sections) : given);
  std::printf(
      "%swritten to %s: index.html, benchmark.md, benchmark.csv, benchmark.json, a report for each "
      "network\n",
      to_terminal(outcome.table).c_str(), outcome.out.c_str());
  return 0;
}

}  // namespace linex
