#include "bootstrap.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"

namespace linex {

namespace {

/// How often each of n rows is drawn, one draw a row: float64 (draws, n).
torch::Tensor draw_counts(std::int64_t draws, std::int64_t n, Random& random) {
  auto counts = torch::zeros({draws, n}, torch::kFloat64);
  double* count = counts.data_ptr<double>();
  for (std::int64_t b = 0; b < draws; ++b)
    for (std::int64_t i = 0; i < n; ++i)
      ++count[b * n + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)))];
  return counts;
}

/// Linear interpolation between order statistics of a sorted sample.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - std::floor(at)) * (sorted[above] - sorted[below]);
}

}  // namespace

std::vector<Interval> bootstrap_pearson(const torch::Tensor& x, const torch::Tensor& y,
                                        std::int64_t resamples, std::uint64_t seed, int threads) {
  if (x.dim() != 2 || x.sizes() != y.sizes())
    throw std::logic_error("bootstrap_pearson: x and y must be (n, K) of one shape");
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr std::int64_t kDraws = 64;  // at once: bounds the matrix of counts
  const std::int64_t n = x.size(0), k = x.size(1);
  std::vector<Interval> intervals(static_cast<std::size_t>(k), Interval{kNan, kNan});
  if (n < 2 || resamples < 1) return intervals;

  // Centred and scaled columns, so that sums of squares under a draw do not cancel.
  const auto standardise = [](const torch::Tensor& matrix) {
    const auto centred = matrix.to(torch::kFloat64) - matrix.to(torch::kFloat64).mean(0);
    return centred / centred.pow(2).mean(0).sqrt();
  };
  const auto a = standardise(x), b = standardise(y);
  const auto terms = torch::cat({a, b, a * b, a * a, b * b}, 1);  // (n, 5K)
  const std::int64_t blocks = (resamples + kDraws - 1) / kDraws;
  std::vector<torch::Tensor> correlations(static_cast<std::size_t>(blocks));
  parallel_for(blocks, threads, [&](std::int64_t block) {
    auto random = Random::stream(seed, static_cast<std::uint64_t>(block));
    const std::int64_t draws = std::min(kDraws, resamples - block * kDraws);
    const auto sums = torch::mm(draw_counts(draws, n, random), terms) / static_cast<double>(n);
    const auto part = [&](int which) { return sums.narrow(1, which * k, k); };
    correlations[static_cast<std::size_t>(block)] =
        (part(2) - part(0) * part(1)) /
        ((part(3) - part(0).pow(2)) * (part(4) - part(1).pow(2))).sqrt();
  });
  const auto all = torch::cat(correlations).t().contiguous();  // (K, resamples)
  for (std::int64_t j = 0; j < k; ++j) {
    std::vector<double> sample;
    for (std::int64_t b = 0; b < resamples; ++b) {
      const double r = all.data_ptr<double>()[j * resamples + b];
      if (std::isfinite(r)) sample.push_back(std::clamp(r, -1.0, 1.0));
    }
    // A unit on in very few rows is constant in some draws; in most, and there is no interval.
    if (static_cast<std::int64_t>(sample.size()) * 2 < resamples) continue;
    std::sort(sample.begin(), sample.end());
    intervals[static_cast<std::size_t>(j)] = {quantile(sample, 0.025), quantile(sample, 0.975)};
  }
  return intervals;
}

}  // namespace linex
