// Ablation scoring (docs/methods.md §1.9): how much of a unit's effect on the loss does its
// simulated activation preserve? The arithmetic, apart from where the logits come from.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace linex::intervention {

/// log p / (1 - p) of each row's label, float64 (n), from logits / temperature. `logits` is
/// floating (n, classes), `labels` int64 (n) within [0, classes). The loss as it should be kept and
/// interpolated: close to linear in the logits, and exact where the loss itself is all but 0.
torch::Tensor log_odds_rows(const torch::Tensor& logits, const torch::Tensor& labels,
                            double temperature);
/// Cross-entropy at these log odds, both float64 of any one shape.
torch::Tensor loss_of(const torch::Tensor& log_odds);
/// Both: cross-entropy of each row, float64 (n).
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
  /// Loss and its derivative at the values `s`; all arrays hold rows() values.
  virtual void evaluate(const float* s, double* loss, double* slope) = 0;
};

/// The response where the rest of the network is one linear map: a rank-1 update of the logits.
class LinearResponse final : public UnitResponse {
 public:
  /// `logits` float32 (n, classes) unmodified; `labels` int64 (n); `actual` float32 (n), the unit's
  /// pooled values; `weight` float32 (classes), the unit's column of the head.
  LinearResponse(const torch::Tensor& logits, const torch::Tensor& labels,
                 const torch::Tensor& actual, const torch::Tensor& weight, double temperature);
  std::int64_t rows() const override { return logits_.size(0); }
  /// In float32, for the many steps of a fit.
  void evaluate(const float* s, double* loss, double* slope) override;
  /// The losses alone, float64 (n), at `s`, float32 (n): rounded nowhere, for scores.
  torch::Tensor loss(const torch::Tensor& s) const;

 private:
  std::int64_t tile() const;  // rows at a time

  torch::Tensor logits_, labels_, actual_, weight_;
  double temperature_;
  torch::Tensor others_;      // (n, classes): (logit - the label's) / T, -inf for the label
  torch::Tensor pull_, own_;  // weight / T; that of each row's label
};

/// Any other response, tabulated: each image's log odds at a few values of the unit, in between the
/// polynomial through them; beyond them its tangent.
class TabulatedResponse final : public UnitResponse {
 public:
  /// Where to tabulate [low, high]: `count` ≥ 2 Chebyshev points, ascending.
  static std::vector<double> nodes(double low, double high, std::int64_t count);

  /// `values` float32 and `log_odds` float64 (count, n): column i has the values at which image i
  /// was tabulated, in any order. Values that coincide count once.
  TabulatedResponse(const torch::Tensor& values, const torch::Tensor& log_odds);
  std::int64_t rows() const override { return nodes_.size(0); }
  void evaluate(const float* s, double* loss, double* slope) override;

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
/// the rows of `response`. `simulated` is float32 (n), `original_loss` float64 (n).
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

/// 1 − Σ|simulated − original| / Σ|averaged − original|, losses of the same rows, float64; NaN
/// where the unit has no effect.
double ablation_score(const torch::Tensor& simulated, const torch::Tensor& averaged,
                      const torch::Tensor& original);

}  // namespace linex::intervention
