#include "saga.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <numeric>
#include <random>

#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

constexpr std::int64_t kTargetsPerSlice = 32;

/// Targets [first, first + count): independent of the others but for the common stop.
struct Slice {
  std::int64_t first, count;
  torch::Tensor weight, average;  // (count, C): W and the running mean gradient
  torch::Tensor residuals;        // (n, count): the SAGA table
  std::vector<float> bias, bias_average;
  double loss = 0;  // of this epoch, summed over rows and targets

  Slice(std::int64_t begin, std::int64_t targets, std::int64_t rows, std::int64_t concepts)
      : first(begin),
        count(targets),
        weight(at::zeros({targets, concepts})),
        average(at::zeros({targets, concepts})),
        residuals(at::zeros({rows, targets})),
        bias(static_cast<std::size_t>(targets)),
        bias_average(static_cast<std::size_t>(targets)) {}

  double penalty(const SagaOptions& options) const {
    double l1 = 0, l2 = 0;
    const float* const w = weight.data_ptr<float>();
    for (std::int64_t i = 0; i < weight.numel(); ++i) {
      const double value = static_cast<double>(w[i]);
      l1 += std::abs(value);
      l2 += value * value;
    }
    return options.l1 * l1 + 0.5 * options.l2 * l2;
  }

  /// One step on `rows` of the table; x (rows, C) and y (n, K).
  void step(const torch::Tensor& x, const torch::Tensor& y, const std::int64_t* rows,
            const SagaOptions& options) {
    const std::int64_t n = x.size(0);
    const double share = static_cast<double>(n) / static_cast<double>(residuals.size(0));
    // a = XW + b − y; the change against the table is all that the gradients need.
    torch::Tensor change = at::mm(x, weight.t());
    std::vector<double> bias_change(static_cast<std::size_t>(count));
    float* const a = change.data_ptr<float>();
    float* const table = residuals.data_ptr<float>();
    const float* const target = y.data_ptr<float>() + first;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < count; ++k) {
        const float residual =
            a[i * count + k] + bias[static_cast<std::size_t>(k)] - target[rows[i] * y.size(1) + k];
        loss += 0.5 * static_cast<double>(residual) * static_cast<double>(residual);
        float& old = table[rows[i] * count + k];
        a[i * count + k] = residual - old;
        bias_change[static_cast<std::size_t>(k)] += static_cast<double>(residual - old);
        old = residual;
      }
    const torch::Tensor product = at::mm(change.t(), x);  // (count, C)
    const float scale = 1.0F / static_cast<float>(n), rate = static_cast<float>(options.rate);
    const float threshold = static_cast<float>(options.rate * options.l1);
    const float shrink = static_cast<float>(1 / (1 + options.rate * options.l2));
    const float moved = static_cast<float>(share);
    const float* const d = product.data_ptr<float>();
    float* const w = weight.data_ptr<float>();
    float* const mean = average.data_ptr<float>();
    const std::int64_t size = weight.numel();
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      const float gradient = d[i] * scale;
      const float next = w[i] - rate * (gradient + mean[i]);
      const float magnitude = std::max(std::abs(next) - threshold, 0.0F) * shrink;
      w[i] = next > 0 ? magnitude : -magnitude;
      mean[i] += gradient * moved;
    }
    for (std::size_t k = 0; k < bias.size(); ++k) {
      const float gradient = static_cast<float>(bias_change[k]) * scale;
      bias[k] -= rate * (gradient + bias_average[k]);
      bias_average[k] += gradient * moved;
    }
  }
};

}  // namespace

SagaResult solve_saga(const torch::Tensor& x, const torch::Tensor& y, const SagaOptions& options,
                      const std::function<void()>& tick) {
  const std::int64_t n = x.size(0), concepts = x.size(1), targets = y.size(1);
  const std::int64_t batch = std::min(options.batch, n);
  std::vector<Slice> slices;
  for (std::int64_t first = 0; first < targets; first += kTargetsPerSlice)
    slices.emplace_back(first, std::min(kTargetsPerSlice, targets - first), n, concepts);
  const std::int64_t slice_count = static_cast<std::int64_t>(slices.size());

  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::mt19937_64 random(options.seed);
  torch::Tensor tile = at::empty({batch, concepts}, at::kFloat);

  SagaResult result;
  double best = std::numeric_limits<double>::infinity();
  std::int64_t stale = 0;
  while (result.epochs < options.max_epochs && !result.stopped) {
    std::shuffle(order.begin(), order.end(), random);
    for (Slice& slice : slices) slice.loss = 0;
    for (std::int64_t begin = 0; begin < n; begin += batch) {
      const std::int64_t count = std::min(batch, n - begin);
      const torch::Tensor rows = tile.narrow(0, 0, count);
      float* const out = rows.data_ptr<float>();
      for (std::int64_t i = 0; i < count; ++i)
        std::copy_n(x.data_ptr<float>() + order[static_cast<std::size_t>(begin + i)] * concepts,
                    concepts, out + i * concepts);
      parallel_for(slice_count, options.threads, [&](std::int64_t s) {
        slices[static_cast<std::size_t>(s)].step(rows, y, order.data() + begin, options);
      });
    }
    double objective = 0;
    for (const Slice& slice : slices)
      objective += slice.loss / static_cast<double>(n) + slice.penalty(options);
    if (objective + options.tolerance * static_cast<double>(targets) < best) {
      best = objective;
      stale = 0;
    } else {
      result.stopped = ++stale >= options.look_behind;
    }
    ++result.epochs;
    if (tick) tick();
  }

  result.weight = at::empty({targets, concepts}, at::kFloat);
  result.bias = at::empty({targets}, at::kFloat);
  for (const Slice& slice : slices) {
    result.weight.narrow(0, slice.first, slice.count).copy_(slice.weight);
    std::copy(slice.bias.begin(), slice.bias.end(), result.bias.data_ptr<float>() + slice.first);
  }
  return result;
}

}  // namespace linex
