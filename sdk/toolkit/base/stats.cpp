#include "toolkit/base/stats.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace linex {

namespace {
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
}

MeanSem mean_sem(const std::vector<double>& values) {
  double sum = 0;
  std::int64_t n = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++n;
  }
  if (n == 0) return {kNan, kNan, 0};
  const double mean = sum / static_cast<double>(n);
  if (n == 1) return {mean, kNan, 1};
  double squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / static_cast<double>(n - 1) / static_cast<double>(n)), n};
}

std::vector<double> pearson_columns(const torch::Tensor& x, const torch::Tensor& y) {
  if (x.dim() != 2 || x.sizes() != y.sizes())
    throw std::logic_error("pearson_columns: x and y must be (n, K) of one shape");
  const auto a = x.contiguous(), b = y.contiguous();
  const float* pa = a.data_ptr<float>();
  const float* pb = b.data_ptr<float>();
  const std::int64_t n = a.size(0), k = a.size(1);
  std::vector<double> mean_a(k, 0), mean_b(k, 0), aa(k, 0), bb(k, 0), ab(k, 0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < k; ++j) {
      mean_a[j] += pa[i * k + j];
      mean_b[j] += pb[i * k + j];
    }
  for (std::int64_t j = 0; j < k; ++j) {
    mean_a[j] /= static_cast<double>(std::max<std::int64_t>(n, 1));
    mean_b[j] /= static_cast<double>(std::max<std::int64_t>(n, 1));
  }
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < k; ++j) {
      const double da = pa[i * k + j] - mean_a[j], db = pb[i * k + j] - mean_b[j];
      aa[j] += da * da;
      bb[j] += db * db;
      ab[j] += da * db;
    }
  std::vector<double> r(k, kNan);
  for (std::int64_t j = 0; j < k; ++j) {
    // A column whose spread is lost in the rounding of its 32-bit mean is constant.
    const auto constant = [n](double squares, double mean) {
      return !(squares > 1e-13 * mean * mean * static_cast<double>(n));
    };
    if (constant(aa[j], mean_a[j]) || constant(bb[j], mean_b[j])) continue;
    r[j] = std::clamp(ab[j] / std::sqrt(aa[j] * bb[j]), -1.0, 1.0);
  }
  return r;
}

Interval fisher_interval(double correlation, std::int64_t n) {
  if (!std::isfinite(correlation) || n < 4) return {kNan, kNan};
  const double z = std::atanh(std::clamp(correlation, -1 + 1e-15, 1 - 1e-15));
  const double half = 1.959963984540054 / std::sqrt(static_cast<double>(n - 3));
  return {std::tanh(z - half), std::tanh(z + half)};
}

}  // namespace linex
