#include "core/math/ablation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace linex {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kPi = 3.14159265358979323846;

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

/// Mean cross-entropy of logits · beta.
double mean_loss(const torch::Tensor& logits, const torch::Tensor& labels, double beta) {
  return cross_entropy_rows(logits, labels, 1 / beta).to(torch::kFloat64).mean().item<double>();
}

}  // namespace

torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& labels,
                                 double temperature) {
  require(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0),
          "cross_entropy_rows: logits must be (n, classes), labels (n)");
  return torch::neg(
      torch::log_softmax(logits / temperature, 1).gather(1, labels.unsqueeze(1)).squeeze(1));
}

double fit_temperature(const torch::Tensor& logits, const torch::Tensor& labels) {
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double low = 1 / 20.0, high = 20;  // of 1/T
  double left = high - golden * (high - low), right = low + golden * (high - low);
  double at_left = mean_loss(logits, labels, left), at_right = mean_loss(logits, labels, right);
  while (high - low > 1e-6 * low) {
    if (at_left <= at_right) {
      high = right;
      right = left;
      at_right = at_left;
      left = high - golden * (high - low);
      at_left = mean_loss(logits, labels, left);
    } else {
      low = left;
      left = right;
      at_left = at_right;
      right = low + golden * (high - low);
      at_right = mean_loss(logits, labels, right);
    }
  }
  return 2 / (low + high);
}

LinearResponse::LinearResponse(const torch::Tensor& logits, const torch::Tensor& labels,
                               const torch::Tensor& actual, const torch::Tensor& weight,
                               double temperature)
    : logits_((logits / temperature).contiguous()),
      labels_(labels.unsqueeze(1)),
      actual_(actual.contiguous()),
      weight_((weight / temperature).contiguous()) {
  require(logits.dim() == 2 && actual.sizes() == labels.sizes() &&
              actual.size(0) == logits.size(0) && weight.size(0) == logits.size(1),
          "LinearResponse: (n, classes) logits need n labels, n values and a weight a class");
}

void LinearResponse::evaluate(const float* s, float* loss, float* slope) {
  // Tiles of rows keep the five passes over the logits within a core's cache.
  const std::int64_t tile =
      std::max<std::int64_t>(16, 65536 / std::max<std::int64_t>(logits_.size(1), 1));
  for (std::int64_t begin = 0; begin < rows(); begin += tile) {
    const std::int64_t count = std::min(tile, rows() - begin);
    const auto values = torch::from_blob(const_cast<float*>(s) + begin, {count}, torch::kFloat32);
    const auto labels = labels_.narrow(0, begin, count);
    const auto log_p =
        torch::log_softmax(torch::addr(logits_.narrow(0, begin, count),
                                       values - actual_.narrow(0, begin, count), weight_),
                           1);
    auto losses = torch::from_blob(loss + begin, {count}, torch::kFloat32);
    losses.copy_(log_p.gather(1, labels).squeeze(1).neg_());
    if (!slope) continue;
    auto slopes = torch::from_blob(slope + begin, {count}, torch::kFloat32);
    slopes.copy_(log_p.exp().mv(weight_) - weight_.index_select(0, labels.squeeze(1)));
  }
}

std::vector<double> TabulatedResponse::nodes(double low, double high, std::int64_t count) {
  std::vector<double> values;
  for (std::int64_t j = 0; j < count; ++j)
    values.push_back(0.5 * (low + high) -
                     0.5 * (high - low) * std::cos(kPi * (2.0 * j + 1) / (2.0 * count)));
  return values;
}

TabulatedResponse::TabulatedResponse(const torch::Tensor& losses, const torch::Tensor& low,
                                     const torch::Tensor& high)
    : low_(low.contiguous()), high_(high.contiguous()) {
  const std::int64_t count = losses.size(0), n = losses.size(1);
  require(count >= 2 && low.size(0) == n && high.size(0) == n,
          "TabulatedResponse: losses must be (count >= 2, n) with n ends");
  auto transform = torch::empty({count, count}, torch::kFloat64);
  auto entry = transform.accessor<double, 2>();
  // nodes() ascends: node j is -cos(theta_j), so T_m there is (-1)^m cos(m theta_j).
  for (std::int64_t j = 0; j < count; ++j)
    for (std::int64_t m = 0; m < count; ++m)
      entry[j][m] = (m == 0 ? 1.0 : 2.0) / count * (m % 2 ? -1 : 1) *
                    std::cos(kPi * m * (2.0 * j + 1) / (2.0 * count));
  coefficients_ = losses.to(torch::kFloat64).t().matmul(transform).contiguous();
}

void TabulatedResponse::evaluate(const float* s, float* loss, float* slope) {
  const std::int64_t count = coefficients_.size(1);
  const double* coefficients = coefficients_.data_ptr<double>();
  const float* low = low_.data_ptr<float>();
  const float* high = high_.data_ptr<float>();
  for (std::int64_t i = 0; i < rows(); ++i) {
    const double* c = coefficients + i * count;
    const double half = 0.5 * (static_cast<double>(high[i]) - low[i]);
    const double x = (s[i] - 0.5 * (static_cast<double>(high[i]) + low[i])) / half;
    const double inside = std::clamp(x, -1.0, 1.0);
    // T_m and its derivative by their recurrences; counts are small.
    double t0 = 1, t1 = inside, d0 = 0, d1 = 1;
    double value = c[0] + c[1] * t1, derivative = c[1];
    for (std::int64_t m = 2; m < count; ++m) {
      const double t2 = 2 * inside * t1 - t0, d2 = 2 * t1 + 2 * inside * d1 - d0;
      value += c[m] * t2;
      derivative += c[m] * d2;
      t0 = t1, t1 = t2, d0 = d1, d1 = d2;
    }
    loss[i] = static_cast<float>(value + derivative * (x - inside));
    if (slope) slope[i] = static_cast<float>(derivative / half);
  }
}

Calibration calibrate(UnitResponse& response, const torch::Tensor& simulated,
                      const torch::Tensor& original_loss, const CalibrationOptions& options) {
  const std::int64_t n = response.rows();
  require(simulated.size(0) == n && original_loss.size(0) == n,
          "calibrate: one simulated value and one loss a row");
  const auto predictions = simulated.contiguous(), originals = original_loss.contiguous();
  const float* predicted = predictions.data_ptr<float>();
  const float* original = originals.data_ptr<float>();
  std::vector<float> values(n), loss(n), slope(n);
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
  double parameter[2] = {1, 0}, first[2] = {0, 0}, second[2] = {0, 0};
  for (int step = 1; step <= options.steps; ++step) {
    for (std::int64_t i = 0; i < n; ++i)
      values[i] = static_cast<float>(parameter[0] * predicted[i] + parameter[1]);
    response.evaluate(values.data(), loss.data(), slope.data());
    double gradient[2] = {0, 0};
    for (std::int64_t i = 0; i < n; ++i) {
      const float change = loss[i] - original[i];
      // A saturated image's losses are often equal to the last bit: no direction then.
      const double sign = change > 0 ? 1 : change < 0 ? -1 : 0;
      gradient[0] += sign * slope[i] * predicted[i];
      gradient[1] += sign * slope[i];
    }
    for (int p = 0; p < 2; ++p) {
      first[p] = kBeta1 * first[p] + (1 - kBeta1) * gradient[p];
      second[p] = kBeta2 * second[p] + (1 - kBeta2) * gradient[p] * gradient[p];
      const double mean = first[p] / (1 - std::pow(kBeta1, step));
      const double deviation = std::sqrt(second[p] / (1 - std::pow(kBeta2, step)));
      parameter[p] -= options.learning_rate * mean / (deviation + kEpsilon);
    }
  }
  return {parameter[0], parameter[1]};
}

ValueRange calibration_range(double simulated, const CalibrationOptions& options) {
  const double reach = options.steps * options.learning_rate;
  const double a = simulated * (1 - reach), b = simulated * (1 + reach);
  return {std::min(a, b) - reach, std::max(a, b) + reach};
}

torch::Tensor normalise_simulation(const torch::Tensor& simulated, double mean, double deviation,
                                   double correlation) {
  const auto s = simulated.to(torch::kFloat64);
  const double centre = s.mean().item<double>(), spread = s.std().item<double>();
  if (!(spread > 1e-7 * std::abs(centre))) return {};
  return ((s - centre) * (deviation * correlation / spread) + mean).to(torch::kFloat32);
}

double ablation_score(const torch::Tensor& simulated, const torch::Tensor& averaged,
                      const torch::Tensor& original) {
  const auto effect = [&](const torch::Tensor& loss) {
    return (loss - original).abs().to(torch::kFloat64).sum().item<double>();
  };
  const double total = effect(averaged);
  return total > 0 ? 1 - effect(simulated) / total : kNan;
}

}  // namespace linex
