// What does a unit cost after the moments: its elastic net, and each search?
#include <benchmark/benchmark.h>

#include <map>

#include "tests/bench/generated.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace {

using namespace linex;

/// A generated problem with its moments, made once for each size.
struct Prepared {
  MatrixPresence presence;
  torch::Tensor activations;
  Split split;
  std::unique_ptr<Regression> regression;
  std::unique_ptr<HeldOut> validation;

  Prepared(const bench::Generated& made, const bench::Generated::Tile& tile)
      : presence(tile.presence), activations(tile.activations), split(made.split()) {
    RegressionOptions how;
    how.moments.threads = 2;
    regression = std::make_unique<Regression>(
        RegressionInput{presence, activations, all_columns(activations.size(1)), split}, how);
    validation = std::make_unique<HeldOut>(regression->validation());
  }
};

Prepared& prepared(std::int64_t concepts) {
  static std::map<std::int64_t, std::unique_ptr<Prepared>> problems;
  auto& problem = problems[concepts];
  if (!problem) {
    bench::GeneratedOptions options;
    options.rows = 6000;
    options.concepts = concepts;
    options.units = 128;
    const bench::Generated made(options);
    problem = std::make_unique<Prepared>(made, made.tile(0, options.rows));
  }
  return *problem;
}

void elastic_net(benchmark::State& state) {
  Prepared& problem = prepared(state.range(0));
  LinearOptions options;
  options.lambda = 1.0 / static_cast<double>(state.range(1));
  for (auto _ : state)
    benchmark::DoNotOptimize(rank(*problem.regression, *problem.validation, 0, 128, options, 1));
  state.counters["units/s"] = benchmark::Counter(128.0 * static_cast<double>(state.iterations()),
                                                 benchmark::Counter::kIsRate);
}
BENCHMARK(elastic_net)
    ->ArgNames({"concepts", "1/lambda"})
    ->ArgsProduct({{1000, 4000}, {20, 100}})
    ->Unit(benchmark::kMillisecond);

void search_of(benchmark::State& state, SearchKind kind) {
  Prepared& problem = prepared(state.range(0));
  LinearOptions options;
  options.search.kind = kind;
  const auto fits = rank(*problem.regression, *problem.validation, 0, 128, options, 1);
  const std::vector<std::int64_t> units = all_columns(128);
  for (auto _ : state)
    benchmark::DoNotOptimize(
        search(*problem.regression, *problem.validation, units, fits, options.search, 1));
  state.counters["units/s"] = benchmark::Counter(128.0 * static_cast<double>(state.iterations()),
                                                 benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(search_of, greedy, SearchKind::greedy)
    ->Arg(1000)
    ->Arg(4000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search_of, forward, SearchKind::forward)
    ->Arg(1000)
    ->Arg(4000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search_of, swap, SearchKind::swap)
    ->Arg(1000)
    ->Arg(4000)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
