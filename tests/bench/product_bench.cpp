// How much of the SGEMM rate do blocked float64-summed products keep, by block and depth?
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "toolkit/base/parallel.hpp"
#include "toolkit/math/product_sum.hpp"

namespace {

constexpr std::int64_t kRows = 4096, kConcepts = 4096;

void gram_tile(benchmark::State& state) {
  const at::Tensor tile = at::rand({kRows, kConcepts});
  linex::ProductSum sum(kConcepts, kConcepts, true, state.range(0), state.range(1));
  for (auto _ : state)
    linex::parallel_for(sum.blocks(), 1, [&](std::int64_t b) { sum.add(b, tile, tile); });
  // What the symmetric half needs: the blocks on the diagonal do a little more.
  state.counters["GFLOP/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * kRows * kConcepts * kConcepts / 1e9,
      benchmark::Counter::kIsRate);
}
BENCHMARK(gram_tile)
    ->ArgNames({"block", "depth"})
    ->ArgsProduct({{256, 512, 1024, 2048}, {512, 2048, 4096}})
    ->Unit(benchmark::kMillisecond);

void whole_sgemm(benchmark::State& state) {
  const at::Tensor tile = at::rand({kRows, kConcepts});
  at::Tensor out = at::empty({kConcepts, kConcepts});
  for (auto _ : state)
    linex::parallel_for(1, 1, [&](std::int64_t) { at::mm_out(out, tile.t(), tile); });
  state.counters["GFLOP/s"] = benchmark::Counter(
      2.0 * static_cast<double>(state.iterations()) * kRows * kConcepts * kConcepts / 1e9,
      benchmark::Counter::kIsRate);
}
BENCHMARK(whole_sgemm)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
