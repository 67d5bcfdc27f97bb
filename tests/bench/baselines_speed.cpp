// How far the published baselines are from what the machine can do at best: each benchmark measures
// its floor in the same run and reports the ratio.
#include <benchmark/benchmark.h>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include <chrono>
#include <cstdlib>
#include <numeric>

#include "core/run/device.hpp"
#include "plugins/solvers/clip_dissect/similarity.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/math/upper_quantiles.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int threads() {
  static const int count = [] {
    const int all = linex::resolve_threads(0);
    linex::prepare_machine(all);
    return all;
  }();
  return count;
}

torch::Tensor random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  auto matrix = torch::empty({rows, cols});
  linex::parallel_for(rows, threads(), [&](std::int64_t i) {
    linex::Random random = linex::Random::stream(seed, static_cast<std::uint64_t>(i));
    float* const row = matrix.data_ptr<float>() + i * cols;
    for (std::int64_t j = 0; j < cols; ++j) row[j] = static_cast<float>(random.uniform(-1, 1));
  });
  return matrix;
}

/// Cosines of stored embeddings, computed a tile at a time as the clip labeler does.
class Cosines final : public linex::Presence {
 public:
  Cosines(torch::Tensor images, torch::Tensor texts)
      : images_(images / images.norm(2, {1}, true)),
        texts_((texts / texts.norm(2, {1}, true)).t().contiguous()) {}
  std::int64_t rows() const override { return images_.size(0); }
  std::int64_t cols() const override { return texts_.size(1); }

 private:
  void do_read(linex::Ids rows, const linex::Columns& cols, float* out) const override {
    const torch::NoGradGuard no_gradients;
    const std::int64_t n_rows = rows.size(), n_cols = cols.count(this->cols());
    auto some = torch::empty({n_rows, images_.size(1)});
    for (std::int64_t i = 0; i < n_rows; ++i)
      std::copy_n(images_.data_ptr<float>() + rows[i] * images_.size(1), images_.size(1),
                  some.data_ptr<float>() + i * images_.size(1));
    auto to = at::from_blob(out, {n_rows, n_cols});
    // A block of consecutive concepts is all that clip_dissect asks for.
    at::mm_out(to, some, cols.is_all() ? texts_ : texts_.narrow(1, cols[0], n_cols));
  }

  torch::Tensor images_, texts_;
};

/// Soft WPMI of range(0) units, range(1) concepts, range(2) images from embeddings of 512 numbers.
/// Floor: the cosines themselves, one matrix product at the rate this machine reaches in this run.
void soft_wpmi(benchmark::State& state) {
  constexpr std::int64_t kWidth = 512, kProbe = 2048;
  const std::int64_t units = state.range(0), concepts = state.range(1), images = state.range(2);
  const Cosines cosines(random_matrix(images, kWidth, 1), random_matrix(concepts, kWidth, 2));
  const torch::Tensor activations = random_matrix(images, units, 3);
  linex::Rows rows(static_cast<std::size_t>(images));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  linex::SimilarityOptions options;
  options.threads = threads();
  options.memory_bytes = 2LL << 30;

  const auto left = random_matrix(kProbe, kProbe, 4), right = random_matrix(kProbe, kProbe, 5);
  double rate = 0;  // FLOP/s of one large product
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    benchmark::DoNotOptimize(at::mm(left, right));
    rate = std::max(rate, 2.0 * kProbe * kProbe * kProbe / seconds_since(start));
  }
  const double flop = 2.0 * static_cast<double>(images * concepts) * kWidth;
  double seconds = 0;
  for (auto _ : state) {
    const auto start = Clock::now();
    linex::concept_similarity(
        {cosines, activations, rows}, options,
        [](std::int64_t, const torch::Tensor& scores) { benchmark::DoNotOptimize(scores.max()); });
    seconds = seconds_since(start);
  }
  state.counters["gflop"] = flop / 1e9;
  state.counters["floor_s"] = flop / rate;
  state.counters["ratio"] = seconds / (flop / rate);
}
BENCHMARK(soft_wpmi)
    ->Args({512, 2000, 10000})
    ->Args({2048, 8438, 50000})
    ->Unit(benchmark::kSecond)
    ->Iterations(1)
    ->UseRealTime();

/// Thresholds of range(0) units over range(1) maps of 7×7, exactly (range(2) = 0) or sketched.
/// Floor: reading the maps once from memory, measured in this run.
void thresholds(benchmark::State& state) {
  constexpr std::int64_t kBatch = 16, kPlaces = 49;
  const std::int64_t units = state.range(0), images = state.range(1);
  auto maps = random_matrix(images, units * kPlaces, 6);
  maps.relu_();
  const double bytes = static_cast<double>(maps.nbytes());
  double floor = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    std::vector<float> sums(static_cast<std::size_t>(images));
    linex::parallel_for(images, threads(), [&](std::int64_t row) {
      const float* const values = maps.data_ptr<float>() + row * units * kPlaces;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t j = 0; j < units * kPlaces; ++j) sum += values[j];
      sums[static_cast<std::size_t>(row)] = sum;
    });
    benchmark::DoNotOptimize(sums.data());
    floor = std::min(floor, seconds_since(start));
  }
  double seconds = 0;
  for (auto _ : state) {
    const auto start = Clock::now();
    linex::UpperQuantiles quantiles(
        units, images * kPlaces,
        {0.995, state.range(2) == 0 ? linex::QuantileMethod::exact : linex::QuantileMethod::sketch,
         8LL << 20, 0});
    for (std::int64_t i = 0; i < images; i += kBatch) {
      const std::int64_t n = std::min(kBatch, images - i);
      quantiles.add(maps.narrow(0, i, n).view({n, units, kPlaces}), threads());
    }
    benchmark::DoNotOptimize(quantiles.values());
    seconds = seconds_since(start);
  }
  state.counters["gigabytes"] = bytes / 1e9;
  state.counters["floor_s"] = floor;
  state.counters["ratio"] = seconds / floor;
}
BENCHMARK(thresholds)
    ->Args({512, 10000, 0})
    ->Args({512, 10000, 1})
    ->Unit(benchmark::kSecond)
    ->Iterations(1)
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
