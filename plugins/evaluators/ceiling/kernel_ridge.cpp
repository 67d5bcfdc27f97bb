#include "kernel_ridge.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"

namespace linex {

namespace {

constexpr std::int64_t kTileRows = 512;
// Up to here linear ridge takes the concepts themselves.
constexpr std::int64_t kMostColumns = 1024;
constexpr double kPenalties[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
// Directions of the kernel matrix below this share of the largest are rounding.
constexpr double kRank = 1e-6;

/// Row-major values of a tile of activations minus their means, float64 (n, K).
torch::Tensor centred(const std::vector<float>& values, std::int64_t n,
                      const std::vector<double>& mean) {
  torch::Tensor result = at::empty({n, static_cast<std::int64_t>(mean.size())}, at::kDouble);
  double* out = result.data_ptr<double>();
  const float* in = values.data();
  for (std::int64_t i = 0; i < n; ++i)
    for (const double m : mean) *out++ = static_cast<double>(*in++) - m;
  return result;
}

/// Squared distances between the rows of x and z, float64; products are float32.
torch::Tensor squared_distances(const torch::Tensor& x, const torch::Tensor& z) {
  const auto lengths = [](const torch::Tensor& rows) {
    return rows.to(at::kDouble).square().sum(1);
  };
  torch::Tensor squares = at::mm(x, z.t()).to(at::kDouble).mul_(-2);
  squares.add_(lengths(x).unsqueeze(1)).add_(lengths(z).unsqueeze(0));
  return squares.clamp_min_(0);
}

/// A map of presence to features, the moments of its training rows, and ridge regression in them.
class Features {
 public:
  enum class Kind { linear, gaussian };

  /// `landmarks` are raw presence (m, C); `width` in units of their median distance.
  Features(Kind kind, bool standardised, double width, const KernelRidgeInput& input,
           const torch::Tensor& landmarks)
      : kind_(kind), name_(kind == Kind::linear ? "ridge" : "kernel ridge") {
    const std::int64_t cols = input.presence.cols;
    shift_ = at::empty({cols}, at::kFloat);
    scale_ = at::ones({cols}, at::kFloat);
    for (std::int64_t j = 0; j < cols; ++j) {
      const std::size_t concept_ = static_cast<std::size_t>(j);
      shift_.data_ptr<float>()[j] = static_cast<float>(input.presence_mean[concept_]);
      const double std = input.presence_std[concept_];
      if (standardised) scale_.data_ptr<float>()[j] = static_cast<float>(std > 0 ? 1 / std : 0);
    }
    primal_ = kind == Kind::linear && cols <= kMostColumns;
    if (primal_) {
      size_ = cols;
      return;
    }
    landmarks_ = scaled(landmarks);
    if (kind == Kind::gaussian && !set_width(width)) return;
    const auto [values, vectors] = at::linalg_eigh(similarity(landmarks_));
    const torch::Tensor kept = values > kRank * values.max();
    size_ = kept.sum().item<std::int64_t>();
    whiten_ = vectors.index({torch::Tensor(), kept}) / values.index({kept}).sqrt();
  }

  /// False where all landmarks are alike: there is nothing to fit.
  bool usable() const { return size_ > 0; }
  const char* name() const { return name_; }

  void add(const torch::Tensor& presence, const torch::Tensor& activations) {
    const torch::Tensor f = of(presence);
    if (!gram_.defined()) {
      gram_ = at::zeros({size_, size_}, at::kDouble);
      cross_ = at::zeros({size_, activations.size(1)}, at::kDouble);
      sum_ = at::zeros({size_}, at::kDouble);
      activation_sum_ = at::zeros({activations.size(1)}, at::kDouble);
    }
    gram_.add_(at::mm(f.t(), f));
    cross_.add_(at::mm(f.t(), activations));
    sum_.add_(f.sum(0));
    activation_sum_.add_(activations.sum(0));
    rows_ += static_cast<double>(f.size(0));
  }

  /// Solves for every penalty; ends add().
  void solve() {
    const torch::Tensor mean = sum_ / rows_, activation_mean = activation_sum_ / rows_;
    const torch::Tensor gram = gram_ / rows_ - at::outer(mean, mean);
    const torch::Tensor cross = cross_ / rows_ - at::outer(mean, activation_mean);
    const double trace = gram.diagonal().sum().item<double>();
    const auto [values, vectors] = at::linalg_eigh(gram);
    projected_ = at::mm(vectors.t(), cross);
    spread_ = values.clamp_min(0).unsqueeze(1);
    unit_penalty_ = std::max(trace / static_cast<double>(size_), 1e-300);
    rotation_ = vectors;
    mean_ = mean;
    activation_mean_ = activation_mean;
    gram_ = cross_ = torch::Tensor();
  }

  /// Predictions by each penalty, relative to the mean: float64 (n, K).
  std::vector<torch::Tensor> predict(const torch::Tensor& presence) const {
    return predict_rotated(rotated(presence));
  }

  /// The same of training rows, each as if it had not been fitted.
  std::vector<torch::Tensor> predict_left_out(const torch::Tensor& presence,
                                              const torch::Tensor& activations) const {
    const torch::Tensor directions = rotated(presence), squares = directions.square(),
                        actual = activations - activation_mean_;
    std::vector<torch::Tensor> predictions = predict_rotated(directions);
    for (std::size_t p = 0; p < predictions.size(); ++p) {
      // A row's share in its own prediction.
      const torch::Tensor own =
          (at::mm(squares, 1 / penalised(kPenalties[p])) / rows_ + 1 / rows_).clamp_max(1 - 1e-6);
      predictions[p] = (predictions[p] - own * actual) / (1 - own);
    }
    return predictions;
  }

 private:
  torch::Tensor rotated(const torch::Tensor& presence) const {
    return at::mm(of(presence) - mean_, rotation_);
  }

  torch::Tensor penalised(double penalty) const { return spread_ + penalty * unit_penalty_; }

  std::vector<torch::Tensor> predict_rotated(const torch::Tensor& rotated) const {
    std::vector<torch::Tensor> predictions;
    for (const double penalty : kPenalties)
      predictions.push_back(at::mm(rotated, projected_ / penalised(penalty)));
    return predictions;
  }

  torch::Tensor scaled(const torch::Tensor& presence) const { return (presence - shift_) * scale_; }

  /// Of scaled rows to the landmarks, float64 (n, m).
  torch::Tensor similarity(const torch::Tensor& rows) const {
    if (kind_ == Kind::linear) return at::mm(rows, landmarks_.t()).to(at::kDouble);
    return squared_distances(rows, landmarks_).mul_(-sharpness_).exp_();
  }

  torch::Tensor of(const torch::Tensor& presence) const {
    const torch::Tensor rows = scaled(presence);
    return primal_ ? rows.to(at::kDouble) : at::mm(similarity(rows), whiten_);
  }

  bool set_width(double width) {
    const torch::Tensor squares = squared_distances(landmarks_, landmarks_);
    const std::int64_t m = squares.size(0);
    std::vector<double> apart;  // duplicates say nothing about how far rows are from each other
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < i; ++j)
        if (const double square = squares.data_ptr<double>()[i * m + j]; square > 1e-10)
          apart.push_back(square);
    if (apart.empty()) return false;
    const auto middle = apart.begin() + static_cast<std::ptrdiff_t>(apart.size() / 2);
    std::nth_element(apart.begin(), middle, apart.end());
    sharpness_ = 0.5 / (width * width * *middle);
    return true;
  }

  Kind kind_;
  const char* name_;
  bool primal_ = false;
  std::int64_t size_ = 0;
  double sharpness_ = 0, rows_ = 0, unit_penalty_ = 0;
  torch::Tensor shift_, scale_, landmarks_;                     // float32
  torch::Tensor whiten_, gram_, cross_, sum_, activation_sum_;  // float64
  torch::Tensor rotation_, mean_, activation_mean_, projected_, spread_;
};

torch::Tensor choose_landmarks(const KernelRidgeInput& input, const KernelRidgeOptions& options) {
  Rows rows = input.split.train;
  auto random = Random::stream(options.seed, 0x6365696cULL);
  random.shuffle(rows);
  if (static_cast<std::int64_t>(rows.size()) > options.landmarks)
    rows.resize(static_cast<std::size_t>(options.landmarks));
  std::sort(rows.begin(), rows.end());
  const std::int64_t count = static_cast<std::int64_t>(rows.size());
  torch::Tensor landmarks = at::empty({count, input.presence.cols}, at::kFloat);
  read_tile(input.presence, rows, 0, count, options.threads, landmarks.data_ptr<float>());
  return landmarks;
}

/// Calls body(presence float32 (n, C), activations float64 (n, K)) for tiles of `rows`.
template <class Body>
void each_tile(const KernelRidgeInput& input, const Rows& rows, int threads, const Tick& tick,
               const Body& body) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size());
  std::vector<float> values;
  for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
    const std::int64_t count = std::min(kTileRows, n - begin);
    torch::Tensor presence = at::empty({count, input.presence.cols}, at::kFloat);
    read_tile(input.presence, rows, begin, count, threads, presence.data_ptr<float>());
    values.resize(static_cast<std::size_t>(count * input.activations.cols));
    read_tile(input.activations, rows, begin, count, threads, values.data());
    body(presence, centred(values, count, input.unit_mean));
    if (tick) tick(count);
  }
}

}  // namespace

std::int64_t kernel_ridge_ticks(const Split& split) {
  return static_cast<std::int64_t>(2 * split.train.size() + split.val.size() + split.test.size());
}

void offer_kernel_ridge(const KernelRidgeInput& input, const KernelRidgeOptions& options,
                        Candidates& candidates, const Tick& tick) {
  struct Wanted {
    Features::Kind kind;
    bool standardised;
    double width;
  };
  constexpr Wanted kWanted[] = {{Features::Kind::linear, true, 0},
                                {Features::Kind::gaussian, false, 0.5},
                                {Features::Kind::gaussian, false, 1},
                                {Features::Kind::gaussian, false, 2},
                                {Features::Kind::gaussian, true, 1}};
  const torch::Tensor landmarks = choose_landmarks(input, options);
  std::vector<std::unique_ptr<Features>> maps(std::size(kWanted));
  const auto each_map = [&](const auto& body) {
    parallel_for(static_cast<std::int64_t>(maps.size()), options.threads,
                 [&](std::int64_t m) { body(static_cast<std::size_t>(m)); });
  };
  each_map([&](std::size_t m) {
    maps[m] = std::make_unique<Features>(kWanted[m].kind, kWanted[m].standardised, kWanted[m].width,
                                         input, landmarks);
  });
  maps.erase(std::remove_if(maps.begin(), maps.end(),
                            [](const auto& features) { return !features->usable(); }),
             maps.end());
  each_tile(input, input.split.train, options.threads, tick,
            [&](const torch::Tensor& presence, const torch::Tensor& activations) {
              each_map([&](std::size_t m) { maps[m]->add(presence, activations); });
            });
  each_map([&](std::size_t m) { maps[m]->solve(); });

  const std::int64_t units = input.activations.cols;
  using Scores = std::vector<std::vector<ColumnCorrelation>>;  // by map and penalty
  const auto score = [&](const Rows& rows, bool fitted) {
    Scores scores(maps.size(),
                  std::vector<ColumnCorrelation>(std::size(kPenalties), ColumnCorrelation(units)));
    each_tile(input, rows, options.threads, tick,
              [&](const torch::Tensor& presence, const torch::Tensor& activations) {
                each_map([&](std::size_t m) {
                  const auto predictions = fitted ? maps[m]->predict_left_out(presence, activations)
                                                  : maps[m]->predict(presence);
                  for (std::size_t p = 0; p < predictions.size(); ++p)
                    scores[m][p].add(predictions[p].contiguous().data_ptr<double>(),
                                     activations.data_ptr<double>(), presence.size(0));
                });
              });
    return scores;
  };
  const Scores train = score(input.split.train, true), val = score(input.split.val, false),
               test = score(input.split.test, false);
  for (std::size_t m = 0; m < maps.size(); ++m)
    for (std::size_t p = 0; p < std::size(kPenalties); ++p)
      for (std::size_t k = 0; k < static_cast<std::size_t>(units); ++k)
        candidates.offer(k, {train[m][p].of(k), val[m][p].of(k), test[m][p].of(k)},
                         maps[m]->name());
}

}  // namespace linex
