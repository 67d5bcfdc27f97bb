// A benchmark that needs no file: the embedded world.
#pragma once

#include "core/plugin/plugin_registry.hpp"
#include "core/run/benchmark_plan.hpp"

namespace linex {

/// Writes the world below run.out, trains three networks on it (or finds them in the cache) and
/// returns the configuration of seven methods on each. `raw` holds [run] and [evaluator] only;
/// throws Error(usage) otherwise.
BenchmarkConfiguration world_benchmark(PluginRegistry& registry, const Sections& raw);

}  // namespace linex
