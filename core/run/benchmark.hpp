// Several methods on several networks as one library call.
#pragma once

#include "core/plugin/plugin_registry.hpp"
#include "core/run/benchmark_plan.hpp"
#include "core/run/benchmark_table.hpp"

namespace linex {

struct BenchmarkOutcome {
  BenchmarkTable table;
  std::filesystem::path out;  ///< run.out
};

/// Runs every method on every network, each as core/run/run.hpp does, and writes run.out: the table
/// as Markdown, CSV, JSON and a page (index.html), a folder for each run, a report for each
/// network. Results whose key has not changed (core/run/run_key.hpp) are taken from an earlier
/// benchmark in that folder.
BenchmarkOutcome benchmark_run(PluginRegistry& registry,
                               const BenchmarkConfiguration& configuration);

}  // namespace linex
