#include "toolkit/intervention/ablation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace linex::intervention {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kPi = 3.14159265358979323846;
constexpr float kNone = -std::numeric_limits<float>::infinity();
/// Of a float32 network's logits, relative.
constexpr double kRounding = 1e-6;
/// Log odds stay finite: a network of one class is certain of it.
constexpr double kCertain = 1e30;

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

/// Mean cross-entropy of logits · beta.
double mean_loss(const torch::Tensor& logits, const torch::Tensor& labels, double beta) {
  return cross_entropy_rows(logits, labels, 1 / beta).mean().item<double>();
}

}  // namespace

torch::Tensor log_odds_rows(const torch::Tensor& logits, const torch::Tensor& labels,
                            double temperature) {
  require(logits.dim() == 2 && labels.dim() == 1 && labels.size(0) == logits.size(0),
          "log_odds_rows: logits must be (n, classes), labels (n)");
  const auto index = labels.unsqueeze(1);
  auto others = logits.to(torch::kFloat64);
  others = (others - others.gather(1, index)).div_(temperature).scatter_(1, index, kNone);
  return torch::logsumexp(others, 1).neg_().clamp_(-kCertain, kCertain);
}

torch::Tensor loss_of(const torch::Tensor& log_odds) {
  return torch::log1p(torch::exp(-log_odds.abs())) + torch::clamp_min(-log_odds, 0);
}

torch::Tensor cross_entropy_rows(const torch::Tensor& logits, const torch::Tensor& labels,
                                 double temperature) {
  return loss_of(log_odds_rows(logits, labels, temperature));
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
    : logits_(logits),
      labels_(labels),
      actual_(actual.contiguous()),
      weight_(weight.contiguous()),
      temperature_(temperature) {
  require(logits.dim() == 2 && actual.sizes() == labels.sizes() &&
              actual.size(0) == logits.size(0) && weight.size(0) == logits.size(1),
          "LinearResponse: (n, classes) logits need n labels, n values and a weight a class");
  const auto index = labels.unsqueeze(1);
  others_ = (logits - logits.gather(1, index)).div_(temperature).scatter_(1, index, kNone);
  pull_ = weight_ / temperature;
  own_ = pull_.index_select(0, labels);
}

std::int64_t LinearResponse::tile() const {
  // Keeps the passes over the logits within a core's cache.
  return std::max<std::int64_t>(16, 65536 / std::max<std::int64_t>(logits_.size(1), 1));
}

void LinearResponse::evaluate(const float* s, double* loss, double* slope) {
  for (std::int64_t begin = 0; begin < rows(); begin += tile()) {
    const std::int64_t count = std::min(tile(), rows() - begin);
    const auto shift = torch::from_blob(const_cast<float*>(s) + begin, {count}, torch::kFloat32) -
                       actual_.narrow(0, begin, count);
    const auto own = own_.narrow(0, begin, count);
    auto others = torch::addr(others_.narrow(0, begin, count), shift, pull_);
    const auto sum = torch::logsumexp(others, 1);
    const auto log_odds = (shift * own - sum).clamp_(-kCertain, kCertain);
    const auto pull = others.sub_(sum.unsqueeze(1)).exp_().mv(pull_) - own;
    for (std::int64_t i = 0; i < count; ++i) {
      const float odds = log_odds.data_ptr<float>()[i];
      loss[begin + i] = softplus(-odds);
      // No number where there is no other class: nothing moves the loss.
      slope[begin + i] = odds < kCertain ? sigmoid(-odds) * pull.data_ptr<float>()[i] : 0;
    }
  }
}

torch::Tensor LinearResponse::loss(const torch::Tensor& s) const {
  auto losses = torch::empty({rows()}, torch::kFloat64);
  for (std::int64_t begin = 0; begin < rows(); begin += tile()) {
    const auto part = [&](const torch::Tensor& all) {
      return all.narrow(0, begin, std::min(tile(), rows() - begin));
    };
    const auto shift = part(s).to(torch::kFloat64) - part(actual_);
    part(losses).copy_(cross_entropy_rows(
        torch::addr(part(logits_).to(torch::kFloat64), shift, weight_.to(torch::kFloat64)),
        part(labels_), temperature_));
  }
  return losses;
}

std::vector<double> TabulatedResponse::nodes(double low, double high, std::int64_t count) {
  std::vector<double> values;
  for (std::int64_t j = 0; j < count; ++j)
    values.push_back(0.5 * (low + high) -
                     0.5 * (high - low) * std::cos(kPi * (2.0 * j + 1) / (2.0 * count)));
  return values;
}

TabulatedResponse::TabulatedResponse(const torch::Tensor& values, const torch::Tensor& log_odds) {
  require(values.dim() == 2 && values.sizes() == log_odds.sizes() && values.size(0) >= 2,
          "TabulatedResponse: values and log odds must be (count >= 2, n)");
  const std::int64_t count = values.size(0), n = values.size(1);
  nodes_ = values.to(torch::kFloat64).t().contiguous();
  coefficients_ = torch::zeros({n, count}, torch::kFloat64);
  low_ = nodes_.amin(1).contiguous();
  high_ = nodes_.amax(1).contiguous();
  const auto wanted = log_odds.to(torch::kFloat64).t().contiguous();
  double* low = low_.data_ptr<double>();
  double* high = high_.data_ptr<double>();

  for (std::int64_t i = 0; i < n; ++i) {
    double* x = nodes_.data_ptr<double>() + i * count;
    double* c = coefficients_.data_ptr<double>() + i * count;
    if (!(high[i] > low[i])) high[i] = low[i] + 1;  // one value: a constant
    for (std::int64_t j = 0; j < count; ++j) x[j] = 2 * (x[j] - low[i]) / (high[i] - low[i]) - 1;
    std::vector<double> y(static_cast<std::size_t>(count));
    for (std::int64_t j = 0; j < count; ++j) y[j] = wanted.data_ptr<double>()[i * count + j];
    // Newton's divided differences in Leja's order, each value as far from those before as can be:
    // stable for many values. It ends where the polynomial meets the values left to their rounding,
    // which a higher degree would only amplify, and at one all but equal to an earlier value.
    std::int64_t kept = 0;
    double largest = 1;
    for (const double value : y) largest = std::max(largest, std::abs(value));
    for (; kept < count; ++kept) {
      std::int64_t farthest = kept;
      double most = -1, nearest = 2, missed = 0;
      for (std::int64_t j = kept; j < count; ++j) {
        double product = 1, gap = 2;
        for (std::int64_t k = 0; k < kept; ++k) {
          product *= 2 * std::abs(x[j] - x[k]);
          gap = std::min(gap, std::abs(x[j] - x[k]));
        }
        if (kept == 0) product = std::abs(x[j]);
        if (product > most) most = product, nearest = gap, farthest = j;
        double met = 0;
        for (std::int64_t k = kept - 1; k >= 0; --k) met = met * (x[j] - x[k]) + c[k];
        missed = std::max(missed, std::abs(y[j] - met));
      }
      if (nearest < 1e-3 || missed < kRounding * largest) break;
      std::swap(x[kept], x[farthest]);
      std::swap(y[kept], y[farthest]);
      double value = y[kept];
      for (std::int64_t k = 0; k < kept; ++k) value = (value - c[k]) / (x[kept] - x[k]);
      c[kept] = value;
    }
    for (; kept < count; ++kept) x[kept] = 0, c[kept] = 0;
  }
}

void TabulatedResponse::evaluate(const float* s, double* loss, double* slope) {
  const std::int64_t count = coefficients_.size(1);
  for (std::int64_t i = 0; i < rows(); ++i) {
    const double* node = nodes_.data_ptr<double>() + i * count;
    const double* c = coefficients_.data_ptr<double>() + i * count;
    const double low = low_.data_ptr<double>()[i], high = high_.data_ptr<double>()[i];
    const double x = 2 * (s[i] - low) / (high - low) - 1;
    const double inside = std::clamp(x, -1.0, 1.0);
    double value = c[count - 1], derivative = 0;
    for (std::int64_t m = count - 2; m >= 0; --m) {
      derivative = derivative * (inside - node[m]) + value;
      value = value * (inside - node[m]) + c[m];
    }
    const double log_odds = value + derivative * (x - inside);
    loss[i] = softplus(-log_odds);
    slope[i] = -sigmoid(-log_odds) * 2 * derivative / (high - low);
  }
}

Calibration calibrate(UnitResponse& response, const torch::Tensor& simulated,
                      const torch::Tensor& original_loss, const CalibrationOptions& options) {
  const std::int64_t n = response.rows();
  require(simulated.size(0) == n && original_loss.size(0) == n,
          "calibrate: one simulated value and one loss a row");
  const auto predictions = simulated.contiguous(), originals = original_loss.contiguous();
  const float* predicted = predictions.data_ptr<float>();
  const double* original = originals.data_ptr<double>();
  std::vector<float> values(n);
  std::vector<double> loss(n), slope(n);
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;
  double parameter[2] = {1, 0}, first[2] = {0, 0}, second[2] = {0, 0};
  Calibration fit{1, 0, {{1.0, 0.0}}};
  for (int step = 1; step <= options.steps; ++step) {
    for (std::int64_t i = 0; i < n; ++i)
      values[i] = static_cast<float>(parameter[0] * predicted[i] + parameter[1]);
    response.evaluate(values.data(), loss.data(), slope.data());
    double gradient[2] = {0, 0};
    for (std::int64_t i = 0; i < n; ++i) {
      const double change = loss[i] - original[i];
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
    fit.path.emplace_back(parameter[0], parameter[1]);
  }
  fit.scale = parameter[0];
  fit.offset = parameter[1];
  return fit;
}

ValueRange likely_range(double simulated, const CalibrationOptions& options) {
  // Adam moves a parameter by about learning_rate a step at most.
  const double reach = 0.5 * options.steps * options.learning_rate;
  const double a = simulated * (1 - reach), b = simulated * (1 + reach);
  return {std::min(a, b) - reach, std::max(a, b) + reach};
}

ValueRange visited_range(double simulated, const Calibration& fit) {
  ValueRange range{simulated, simulated};
  for (const auto& [scale, offset] : fit.path) {
    range.low = std::min(range.low, scale * simulated + offset);
    range.high = std::max(range.high, scale * simulated + offset);
  }
  return range;
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
    return (loss - original).abs().sum().item<double>();
  };
  const double total = effect(averaged);
  return total > 0 ? 1 - effect(simulated) / total : kNan;
}

}  // namespace linex::intervention
