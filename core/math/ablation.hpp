// Ablation scoring (reference.md §1.9): how much of a unit's effect on the loss does its simulated
// activation preserve? The arithmetic, apart from where the logits come from.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace linex {

/// Cross-entropy of each row, float32 (n), of logits / temperature. `logits` is float32
/// (n, classes), `labels` int64 (n) within [0, classes).
torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& labels,
                                 double temperature);

/// The temperature in [0.05, 20] that minimises the mean cross-entropy (convex in 1/T), to 1e-6
/// relative.
double fit_temperature(const torch::Tensor& logits, const torch::Tensor& labels);

/// Loss of n images as a function of one unit's pooled value in each of them. [one thread]
class UnitResponse {
 public:
  virtual ~UnitResponse() = default;
  virtual std::int64_t rows() const = 0;
  /// Loss and its derivative at the values `s`; all arrays hold rows() floats. `slope` may be null.
  virtual void evaluate(const float* s, float* loss, float* slope) = 0;
};

/// The response where the rest of the network is one linear map: a rank-1 update of the logits.
class LinearResponse final : public UnitResponse {
 public:
  /// `logits` float32 (n, classes) unmodified; `labels` int64 (n); `actual` float32 (n), the unit's
  /// pooled values; `weight` float32 (classes), the unit's column of the head.
  LinearResponse(const torch::Tensor& logits, const torch::Tensor& labels,
                 const torch::Tensor& actual, const torch::Tensor& weight, double temperature);
  std::int64_t rows() const override { return logits_.size(0); }
  void evaluate(const float* s, float* loss, float* slope) override;

 private:
  torch::Tensor logits_, labels_, actual_, weight_;  // logits and weight divided by T
};

/// Any other response, tabulated: each image's loss at a few values of the unit, in between the
/// polynomial through them; beyond them its tangent.
class TabulatedResponse final : public UnitResponse {
 public:
  /// Where to tabulate [low, high]: `count` ≥ 2 Chebyshev points, ascending.
  static std::vector<double> nodes(double low, double high, std::int64_t count);

  /// `values` and `losses` float32 (count, n): column i has the values at which image i was
  /// tabulated, in any order. Values that coincide count once.
  TabulatedResponse(const torch::Tensor& values, const torch::Tensor& losses);
  std::int64_t rows() const override { return nodes_.size(0); }
  void evaluate(const float* s, float* loss, float* slope) override;

 private:
  torch::Tensor nodes_, coefficients_;  // float64 (n, count), of Newton's form on [-1, 1]
  torch::Tensor low_, high_;            // float64 (n): -1 and 1 there
};

/// s = scale·ŝ + offset.
struct Calibration {
  double scale = 1, offset = 0;
  std::vector<std::pair<double, double>> path;  ///< (scale, offset) at every step, first to last
};

struct CalibrationOptions {
  int steps = 100;  ///< Adam steps; the last iterate counts
  double learning_rate = 1e-2;
};

/// The published `optim` mode: Adam from (1, 0) on Σ|L(scale·ŝ + offset) − L_original|, a sum over
/// the rows of `response`. `simulated` and `original_loss` are float32 (n).
Calibration calibrate(UnitResponse& response, const torch::Tensor& simulated,
                      const torch::Tensor& original_loss, const CalibrationOptions& options);

/// Values of a row.
struct ValueRange {
  double low, high;
};
/// Where a calibration is likely to take a row whose simulated value is `simulated`: half of what
/// `options` allow scale and offset to move.
ValueRange likely_range(double simulated, const CalibrationOptions& options);
/// Where `path` took it.
ValueRange visited_range(double simulated, const Calibration& fit);

/// The published `norm` mode: z-scores of `simulated` (over its own rows, unbiased) times
/// deviation·correlation plus mean. float32 (n); undefined tensor where `simulated` is constant.
torch::Tensor normalise_simulation(const torch::Tensor& simulated, double mean, double deviation,
                                   double correlation);

/// 1 − Σ|simulated − original| / Σ|averaged − original|, losses of the same rows; NaN where the
/// unit has no effect.
double ablation_score(const torch::Tensor& simulated, const torch::Tensor& averaged,
                      const torch::Tensor& original);

}  // namespace linex
