#include "toolkit/math/best_subset.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "toolkit/base/wide.hpp"
#include "toolkit/math/least_squares.hpp"

namespace linex {

namespace {

constexpr double kIndependent = 1e-5;  // as in least squares
// A pivot below this share of its diagonal is rounding of float32 moments.
constexpr double kRounding = 1e-7;
constexpr double kGap = 1e-6;
constexpr std::int64_t kFewLeft = 48;

/// What a term, once taken, leaves of the others.
struct Level {
  std::vector<double> slope, variance;  // of every concept, given the terms so far
  std::vector<double> partial;          // covariance with this level's term, given those before
};

/// Best gain of one concept in [begin, n) after term j joins `depth` terms, in one pass.
LINEX_WIDE double scan(const float* row, const double* const* partial, const double* share,
                       int depth, const double* slope, const double* variance, double own_slope,
                       double own_variance, double least, std::int64_t begin, std::int64_t n) {
  double best = 0;
  const double by = 1 / own_variance;
#pragma omp simd reduction(max : best)
  for (std::int64_t l = begin; l < n; ++l) {
    double c = static_cast<double>(row[l]);
    for (int s = 0; s < depth; ++s) c -= share[s] * partial[s][l];
    const double left = slope[l] - c * own_slope * by, spread = variance[l] - c * c * by;
    const double gain = spread > least ? left * left / std::max(spread, least) : 0.0;
    best = std::max(best, gain);
  }
  return best;
}

LINEX_WIDE double single(const double* slope, const double* variance, double least,
                         std::int64_t begin, std::int64_t n) {
  double best = 0;
#pragma omp simd reduction(max : best)
  for (std::int64_t l = begin; l < n; ++l) {
    const double gain =
        variance[l] > least ? slope[l] * slope[l] / std::max(variance[l], least) : 0.0;
    best = std::max(best, gain);
  }
  return best;
}

/// explained[i]: what concepts i … n − 1 explain together. `matrix` (n, n) is overwritten, `target`
/// too. Concepts that the later ones give already add nothing.
LINEX_WIDE std::vector<double> tails(std::vector<double>& matrix, std::vector<double>& target,
                                     std::int64_t n) {
  std::vector<double> explained(static_cast<std::size_t>(n) + 1, 0.0), spread;
  for (std::int64_t i = 0; i < n; ++i) spread.push_back(matrix[i * n + i]);
  for (std::int64_t i = n - 1; i >= 0; --i) {
    const double pivot = matrix[i * n + i];
    explained[i] = explained[i + 1];
    if (!(pivot > kRounding * spread[static_cast<std::size_t>(i)])) continue;
    explained[i] += target[i] * target[i] / pivot;
    // Symmetric: only rows before i are still read, and of them columns up to their own.
    double* const row = matrix.data() + i * n;
    for (std::int64_t k = 0; k < i; ++k) {
      const double share = row[k] / pivot;
      if (share == 0) continue;
      target[k] -= share * target[i];
      double* const other = matrix.data() + k * n;
#pragma omp simd
      for (std::int64_t l = 0; l <= k; ++l) other[l] -= share * row[l];
    }
  }
  return explained;
}

}  // namespace

struct BestSubset::State {
  const Gram& gram;
  const double* const given_q;
  const double mean_square, least;
  const std::int64_t n;
  std::vector<std::int64_t> order;  // concepts, strongest first
  std::vector<float> rows;          // the Gram matrix in that order
  std::vector<double> q, tail;      // in that order
  std::vector<Level> levels;

  // Of the current find().
  std::int64_t count = 0, scans_left = 0, scans_until_asked = 0, open_from = 0;
  bool stopped = false;
  const std::function<bool()>* stop = nullptr;
  std::vector<std::int64_t> taken, best;
  double most = 0;
  std::vector<double> share;
  std::vector<const double*> partials;

  State(const Gram& gram, const double* q, double mean_square, double diagonal)
      : gram(gram),
        given_q(q),
        mean_square(mean_square),
        least(kIndependent * diagonal),
        n(gram.size()),
        order(static_cast<std::size_t>(n)),
        rows(static_cast<std::size_t>(n * n)) {
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return std::fabs(q[a]) > std::fabs(q[b]);
    });
    std::vector<double> whole(rows.size());
    for (std::int64_t i = 0; i < n; ++i) {
      const float* const row = gram.row(order[static_cast<std::size_t>(i)]);
      for (std::int64_t j = 0; j < n; ++j) {
        rows[static_cast<std::size_t>(i * n + j)] = row[order[static_cast<std::size_t>(j)]];
        whole[static_cast<std::size_t>(i * n + j)] =
            static_cast<double>(row[order[static_cast<std::size_t>(j)]]);
      }
    }
    for (const std::int64_t j : order) this->q.push_back(q[j]);
    std::vector<double> target = this->q;
    tail = tails(whole, target, n);
  }

  double beyond() const { return most + kGap * mean_square; }

  bool out_of_budget() {
    if (--scans_left < 0) stopped = true;
    if (--scans_until_asked < 0) {
      scans_until_asked = 4096;
      if (stop && *stop && (*stop)()) stopped = true;
    }
    return stopped;
  }

  /// The concept that explains `gain` after `taken`, by the exact fit that everybody uses.
  void keep(std::int64_t last_from) {
    std::vector<std::int64_t> terms;
    for (const std::int64_t i : taken) terms.push_back(order[static_cast<std::size_t>(i)]);
    terms.push_back(-1);
    for (std::int64_t l = last_from; l < n; ++l) {
      terms.back() = order[static_cast<std::size_t>(l)];
      const TermFit fit = least_squares(gram, given_q, terms);
      if (fit.weight.empty() || !(fit.explained > most)) continue;
      most = fit.explained;
      best = terms;
    }
  }

  /// Sets that go on with concepts from `start` on; `explained` is that of `taken`.
  void descend(std::int64_t start, double explained) {
    const std::int64_t depth = static_cast<std::int64_t>(taken.size()), left = count - depth;
    const Level& level = levels[static_cast<std::size_t>(depth)];
    if (left == 1) {
      if (out_of_budget()) return;
      if (explained + single(level.slope.data(), level.variance.data(), least, start, n) > beyond())
        keep(start);
      return;
    }
    std::vector<double> few;
    if (depth > 0 && n - start <= kFewLeft) few = tails_given(start);
    for (std::int64_t j = start; j + left <= n; ++j) {
      if (depth == 0) {
        open_from = j;
        if (tail[static_cast<std::size_t>(j)] <= beyond()) {
          open_from = n;
          return;
        }
      } else if (!few.empty() && explained + few[static_cast<std::size_t>(j - start)] <= beyond()) {
        return;
      }
      const double variance = level.variance[static_cast<std::size_t>(j)];
      if (!(variance > least)) continue;
      const double slope = level.slope[static_cast<std::size_t>(j)],
                   with_j = explained + slope * slope / variance;
      const float* const row = rows.data() + j * n;
      for (std::int64_t s = 0; s < depth; ++s)
        share[static_cast<std::size_t>(s)] =
            partials[static_cast<std::size_t>(s)][j] /
            levels[static_cast<std::size_t>(s)]
                .variance[static_cast<std::size_t>(taken[static_cast<std::size_t>(s)])];
      if (left == 2) {
        if (out_of_budget()) return;
        const double gain =
            scan(row, partials.data(), share.data(), static_cast<int>(depth), level.slope.data(),
                 level.variance.data(), slope, variance, least, j + 1, n);
        if (with_j + gain <= beyond()) continue;
        taken.push_back(j);
        keep(j + 1);
        taken.pop_back();
        continue;
      }
      take(j, depth);
      descend(j + 1, with_j);
      taken.pop_back();
      partials.pop_back();
      if (stopped) return;
    }
    if (depth == 0) open_from = n;
  }

  /// Adds j to `taken` and fills the next level.
  void take(std::int64_t j, std::int64_t depth) {
    const Level& level = levels[static_cast<std::size_t>(depth)];
    Level& next = levels[static_cast<std::size_t>(depth) + 1];
    std::vector<double>& partial = levels[static_cast<std::size_t>(depth)].partial;
    const float* const row = rows.data() + j * n;
    const double variance = level.variance[static_cast<std::size_t>(j)],
                 slope = level.slope[static_cast<std::size_t>(j)];
    for (std::int64_t l = j + 1; l < n; ++l) {
      double c = static_cast<double>(row[l]);
      for (std::int64_t s = 0; s < depth; ++s)
        c -= share[static_cast<std::size_t>(s)] * partials[static_cast<std::size_t>(s)][l];
      partial[static_cast<std::size_t>(l)] = c;
      next.slope[static_cast<std::size_t>(l)] =
          level.slope[static_cast<std::size_t>(l)] - c * slope / variance;
      next.variance[static_cast<std::size_t>(l)] =
          level.variance[static_cast<std::size_t>(l)] - c * c / variance;
    }
    taken.push_back(j);
    partials.push_back(partial.data());
  }

  /// What concepts from start + i on explain together beside `taken`.
  std::vector<double> tails_given(std::int64_t start) const {
    const std::int64_t m = n - start, depth = static_cast<std::int64_t>(taken.size());
    const Level& level = levels[static_cast<std::size_t>(depth)];
    std::vector<double> matrix(static_cast<std::size_t>(m * m)),
        target(level.slope.begin() + start, level.slope.end());
    for (std::int64_t a = 0; a < m; ++a)
      for (std::int64_t b = 0; b <= a; ++b) {
        double c = static_cast<double>(rows[static_cast<std::size_t>((start + a) * n + start + b)]);
        for (std::int64_t s = 0; s < depth; ++s) {
          const double* const partial = partials[static_cast<std::size_t>(s)];
          c -= partial[start + a] * partial[start + b] /
               levels[static_cast<std::size_t>(s)]
                   .variance[static_cast<std::size_t>(taken[static_cast<std::size_t>(s)])];
        }
        matrix[static_cast<std::size_t>(a * m + b)] = c;
      }
    // A set of independent terms stays one; what the terms so far nearly give is no pivot here.
    return tails(matrix, target, m);
  }
};

BestSubset::BestSubset(const Gram& gram, const double* q, double mean_square, double diagonal)
    : state_(std::make_unique<State>(gram, q, mean_square, diagonal)) {}
BestSubset::~BestSubset() = default;

SubsetFound BestSubset::find(std::int64_t count, const std::vector<std::int64_t>& known,
                             std::int64_t scans, const std::function<bool()>& stop) {
  State& s = *state_;
  SubsetFound found;
  s.count = count;
  s.scans_left = scans;
  s.scans_until_asked = 0;
  s.stopped = false;
  s.stop = &stop;
  s.taken.clear();
  s.partials.clear();
  s.share.assign(static_cast<std::size_t>(count), 0.0);
  s.best = known;
  s.most = known.empty() ? 0 : least_squares(s.gram, s.given_q, known).explained;
  s.open_from = 0;
  s.levels.resize(static_cast<std::size_t>(count) + 1);
  for (Level& level : s.levels) {
    level.slope = s.q;
    level.variance.resize(static_cast<std::size_t>(s.n));
    level.partial.resize(static_cast<std::size_t>(s.n));
  }
  for (std::int64_t j = 0; j < s.n; ++j)
    s.levels[0].variance[static_cast<std::size_t>(j)] =
        static_cast<double>(s.rows[static_cast<std::size_t>(j * s.n + j)]);
  if (count <= s.n) s.descend(0, 0);
  found.certified = !s.stopped;
  found.explained = s.most;
  // What was not looked at has its first term from open_from on.
  found.bound =
      s.stopped ? std::max(s.beyond(), s.tail[static_cast<std::size_t>(s.open_from)]) : s.beyond();
  found.terms = s.best;
  std::sort(found.terms.begin(), found.terms.end());
  return found;
}

}  // namespace linex
