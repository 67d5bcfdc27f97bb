#include "toolkit/math/elastic_net.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include "toolkit/base/parallel.hpp"
#include "toolkit/math/kernels.hpp"

namespace linex {

namespace {

constexpr std::size_t kFirstJoin = 10;    // concepts that join a working set at first
constexpr std::size_t kExactLimit = 200;  // largest support solved exactly
constexpr int kMaxRounds = 200;

double shrink(double value, double threshold, bool non_negative) {
  if (value > threshold) return value - threshold;
  if (value < -threshold && !non_negative) return value + threshold;
  return 0;
}

/// Duality gap of the elastic net, as a lasso with √(n·l2)·I appended to X and zeros to y. The dual
/// point is the residual scaled to be feasible.
struct Gap {
  double objective, gap;

  /// qw = qᵀw, wg = wᵀ(q − Qw), steepest = max of the |gradient − l2·w|.
  static Gap of(double mean_square, double qw, double wg, double l1_norm, double l2_norm,
                double steepest, const ElasticNetOptions& options) {
    const double wqw = qw - wg;
    const double residual = std::max(0.0, mean_square - 2 * qw + wqw);
    const double extended = residual + options.l2 * l2_norm;
    const double objective = 0.5 * extended + options.l1 * l1_norm;
    const double yr = mean_square - qw;
    double scale = extended > 0 ? yr / extended : 0;
    const double bound = steepest > 0 ? options.l1 / steepest : std::abs(scale);
    scale = std::max(-bound, std::min(bound, scale));
    return {objective, objective - (scale * yr - 0.5 * scale * scale * extended)};
  }
};

/// One unit on its way to a solution.
class UnitSolver {
 public:
  UnitSolver(const Gram& gram, const UnitMoments& unit, const ElasticNetOptions& options,
             const SparseFit* warm)
      : gram_(gram),
        unit_(unit),
        options_(options),
        target_(options.gap * 0.5 * unit.mean_square),
        inner_target_(0.1 * target_) {
    if (!warm) return;
    work_ = warm->index;
    weight_ = warm->weight;
  }

  /// Runs until the gap is reached (true), or until rows of the Gram matrix are missing (false,
  /// see missing()), or until it gives up (true, fit().converged is false).
  bool run(std::vector<double>& gradient) {
    for (; rounds_ < kMaxRounds && sweeps_ < options_.max_sweeps; ++rounds_) {
      if (!rows_there()) return false;
      if (!pending_) {
        refresh(gradient);
        if (fit_.gap <= target_) break;
        if (!join(gradient)) inner_target_ *= 0.1;
        pending_ = true;
        if (!rows_there()) return false;
      }
      solve_working_set();
      pending_ = false;
    }
    if (pending_ || fit_.gap > target_) refresh(gradient);
    finish();
    return true;
  }

  const std::vector<std::int64_t>& missing() const { return missing_; }
  SparseFit take() { return std::move(fit_); }

 private:
  bool rows_there() {
    missing_.clear();
    for (const std::int64_t j : work_)
      if (!gram_.row(j)) missing_.push_back(j);
    return missing_.empty();
  }

  /// gradient = q − Qw over all concepts, and from it objective and gap.
  void refresh(std::vector<double>& gradient) {
    const std::size_t concepts = static_cast<std::size_t>(gram_.size());
    gradient.assign(unit_.q, unit_.q + concepts);
    double* const g = gradient.data();
    for (std::size_t i = 0; i < work_.size(); ++i) {
      if (weight_[i] == 0) continue;
      const double w = weight_[i];
      const float* const row = gram_.row(work_[i]);
      subtract_scaled(row, w, static_cast<std::int64_t>(concepts), g);
    }
    double qw = 0, wg = 0, l1_norm = 0, l2_norm = 0, steepest = 0;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      const double w = weight_[i], slope = g[work_[i]] - options_.l2 * w;
      qw += unit_.q[work_[i]] * w;
      wg += w * g[work_[i]];
      l1_norm += std::abs(w);
      l2_norm += w * w;
      steepest = std::max(steepest, options_.non_negative ? slope : std::abs(slope));
    }
    // Inside the set the loop above had the exact slope; what remains are concepts of weight zero.
    for (const std::int64_t j : work_) saved_.push_back(g[j]);
    for (const std::int64_t j : work_) g[j] = 0;
    steepest = std::max(steepest, steepest_of(g, gram_.size(), options_.non_negative));
    for (std::size_t i = 0; i < work_.size(); ++i) g[work_[i]] = saved_[i];
    saved_.clear();
    const Gap gap = Gap::of(unit_.mean_square, qw, wg, l1_norm, l2_norm, steepest, options_);
    fit_.objective = gap.objective;
    fit_.gap = gap.gap;
  }

  /// The steepest violators outside the working set join it; zeros that fell out leave it.
  bool join(const std::vector<double>& gradient) {
    drop_zeros();
    std::vector<char> inside(gradient.size(), 0);
    for (const std::int64_t j : work_) inside[static_cast<std::size_t>(j)] = 1;
    std::vector<std::int64_t> violators;
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      const double slope = options_.non_negative ? gradient[j] : std::abs(gradient[j]);
      if (slope > options_.l1 && !inside[j]) violators.push_back(static_cast<std::int64_t>(j));
    }
    const std::size_t count = std::min(violators.size(), std::max(kFirstJoin, work_.size()));
    const auto steeper = [&](std::int64_t i, std::int64_t j) {
      const double a = std::abs(gradient[i]), b = std::abs(gradient[j]);
      return a != b ? a > b : i < j;
    };
    std::partial_sort(violators.begin(), violators.begin() + count, violators.end(), steeper);
    work_.insert(work_.end(), violators.begin(), violators.begin() + count);
    weight_.resize(work_.size(), 0.0);
    return count > 0;
  }

  void drop_zeros() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      if (weight_[i] == 0) continue;
      work_[kept] = work_[i];
      weight_[kept++] = weight_[i];
    }
    work_.resize(kept);
    weight_.resize(kept);
  }

  void gather() {
    const std::size_t size = work_.size();
    sub_.resize(static_cast<Eigen::Index>(size), static_cast<Eigen::Index>(size));
    for (std::size_t j = 0; j < size; ++j) {
      const float* const row = gram_.row(work_[j]);
      for (std::size_t i = j; i < size; ++i)
        sub_(i, j) = sub_(j, i) = static_cast<double>(row[work_[i]]);
    }
    linear_.resize(static_cast<Eigen::Index>(size));
    for (std::size_t i = 0; i < size; ++i) linear_[i] = unit_.q[work_[i]];
  }

  /// Coordinate descent on the working set to a gap of inner_target_ there.
  void solve_working_set() {
    gather();
    Eigen::Map<Eigen::VectorXd> w(weight_.data(), static_cast<Eigen::Index>(weight_.size()));
    slope_ = linear_ - sub_ * w;
    int settled = 0, patience = 2;  // sweeps since the signs last changed, and to wait for
    while (sweeps_ < options_.max_sweeps) {
      ++sweeps_;
      settled = sweep(w) ? 0 : settled + 1;
      if (working_gap(w) <= inner_target_) return;
      if (settled < patience) continue;
      if (solve_exactly(w) && working_gap(w) <= inner_target_) return;
      patience *= 2;
    }
  }

  /// One pass over the working set; whether any sign changed.
  bool sweep(Eigen::Map<Eigen::VectorXd>& w) {
    bool changed = false;
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      const double old = w[i], diagonal = sub_(i, i);
      const double next = shrink(slope_[i] + diagonal * old, options_.l1, options_.non_negative) /
                          (diagonal + options_.l2);
      if (next == old) continue;
      changed |= (next > 0) != (old > 0) || (next < 0) != (old < 0);
      w[i] = next;
      subtract_scaled(sub_.col(i).data(), next - old, slope_.size(), slope_.data());
    }
    return changed;
  }

  double working_gap(const Eigen::Map<Eigen::VectorXd>& w) const {
    double steepest = 0;
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      const double slope = slope_[i] - options_.l2 * w[i];
      steepest = std::max(steepest, options_.non_negative ? slope : std::abs(slope));
    }
    return Gap::of(unit_.mean_square, linear_.dot(w), w.dot(slope_), w.lpNorm<1>(), w.squaredNorm(),
                   steepest, options_)
        .gap;
  }

  /// With the signs fixed the optimum is a linear system. Taken only if it keeps the signs.
  bool solve_exactly(Eigen::Map<Eigen::VectorXd>& w) {
    std::vector<Eigen::Index> support;
    for (Eigen::Index i = 0; i < w.size(); ++i)
      if (w[i] != 0) support.push_back(i);
    if (support.empty() || support.size() > kExactLimit) return false;
    const Eigen::Index size = static_cast<Eigen::Index>(support.size());
    Eigen::MatrixXd system(size, size);
    Eigen::VectorXd target(size);
    for (Eigen::Index i = 0; i < size; ++i) {
      for (Eigen::Index j = 0; j < size; ++j) system(i, j) = sub_(support[i], support[j]);
      system(i, i) += options_.l2;
      target[i] = linear_[support[i]] - (w[support[i]] > 0 ? options_.l1 : -options_.l1);
    }
    const Eigen::LLT<Eigen::MatrixXd> factor(system);
    if (factor.info() != Eigen::Success) return false;
    const Eigen::VectorXd exact = factor.solve(target);
    for (Eigen::Index i = 0; i < size; ++i)
      if (!((exact[i] > 0) == (w[support[i]] > 0)) || exact[i] == 0) return false;
    for (Eigen::Index i = 0; i < size; ++i) w[support[i]] = exact[i];
    slope_ = linear_ - sub_ * w;
    return true;
  }

  void finish() {
    drop_zeros();
    std::vector<std::size_t> order(work_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return work_[a] < work_[b]; });
    for (const std::size_t i : order) {
      fit_.index.push_back(work_[i]);
      fit_.weight.push_back(weight_[i]);
    }
    fit_.sweeps = sweeps_;
    fit_.converged = fit_.gap <= target_;
  }

  const Gram& gram_;
  const UnitMoments unit_;
  const ElasticNetOptions& options_;
  const double target_;
  double inner_target_;
  std::vector<std::int64_t> work_, missing_;
  std::vector<double> weight_, saved_;
  Eigen::MatrixXd sub_;             // Q over the working set
  Eigen::VectorXd linear_, slope_;  // q and q − Qw there
  std::int64_t sweeps_ = 0;
  int rounds_ = 0;
  bool pending_ = false;  // the working set has grown and is not solved yet
  SparseFit fit_;
};

}  // namespace

ElasticNetOptions ElasticNetOptions::published(double lambda, double alpha) {
  const double effective = lambda / std::max(0.001, alpha);
  ElasticNetOptions options;
  options.l1 = effective * alpha;
  options.l2 = effective * (1 - alpha);
  return options;
}

std::vector<SparseFit> fit_elastic_net(Gram& gram, const std::vector<UnitMoments>& units,
                                       const ElasticNetOptions& options, int threads,
                                       const std::vector<SparseFit>& warm) {
  std::vector<std::unique_ptr<UnitSolver>> solvers;
  for (std::size_t k = 0; k < units.size(); ++k)
    solvers.push_back(
        std::make_unique<UnitSolver>(gram, units[k], options, warm.empty() ? nullptr : &warm[k]));
  std::vector<SparseFit> fits(units.size());
  for (;;) {
    parallel_for(static_cast<std::int64_t>(units.size()), threads, [&](std::int64_t k) {
      thread_local std::vector<double> gradient;
      auto& solver = solvers[static_cast<std::size_t>(k)];
      if (!solver || !solver->run(gradient)) return;
      fits[static_cast<std::size_t>(k)] = solver->take();
      solver.reset();
    });
    std::vector<std::int64_t> missing;
    for (const auto& solver : solvers)
      if (solver) missing.insert(missing.end(), solver->missing().begin(), solver->missing().end());
    if (missing.empty()) return fits;
    gram.require(std::move(missing));
  }
}

std::vector<std::int64_t> ranking(const SparseFit& fit, std::int64_t concepts, std::int64_t count) {
  std::vector<std::pair<double, std::int64_t>> positive, negative;
  for (std::size_t i = 0; i < fit.index.size(); ++i)
    (fit.weight[i] > 0 ? positive : negative).emplace_back(-fit.weight[i], fit.index[i]);
  std::sort(positive.begin(), positive.end());
  std::sort(negative.begin(), negative.end());
  std::vector<std::int64_t> ranked;
  const auto full = [&] { return static_cast<std::int64_t>(ranked.size()) >= count; };
  for (const auto& [weight, concept_id] : positive)
    if (!full()) ranked.push_back(concept_id);
  std::size_t next = 0;  // walks fit.index, which ascends
  for (std::int64_t j = 0; j < concepts && !full(); ++j) {
    if (next < fit.index.size() && fit.index[next] == j) {
      ++next;
      continue;
    }
    ranked.push_back(j);
  }
  for (const auto& [weight, concept_id] : negative)
    if (!full()) ranked.push_back(concept_id);
  return ranked;
}

}  // namespace linex
