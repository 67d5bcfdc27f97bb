#include "toolkit/math/stability.hpp"

#include <chrono>
#include <stdexcept>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/dense_search.hpp"
#include "toolkit/math/kernels.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/model_scan.hpp"
#include "toolkit/math/swept_search.hpp"

namespace linex {

namespace {

using Terms = std::vector<std::int64_t>;

constexpr std::int64_t kGroups = 32;
constexpr std::size_t kMostCandidates = 40;
constexpr int kByCorrelation = 10, kToFollow = 6, kToReplace = 4;

Terms candidates_of(const Regression& regression, std::int64_t unit, const Terms& terms) {
  const std::int64_t concepts = regression.concept_count();
  const std::size_t size = terms.size();
  const double* const q = regression.moments_of(unit).q;
  const auto add = [&](const float* values, int count, Terms& found) {
    add_largest(values, concepts, count, kMostCandidates, found);
  };
  Terms found = terms;
  const std::vector<float> slope(q, q + concepts);
  const TermFit fit = least_squares(*regression.gram, q, terms);
  if (fit.weight.size() == size) {
    const ModelScan scan(regression, terms, fit, slope.data());
    std::vector<float> gain((size + 1) * static_cast<std::size_t>(concepts));
    all_gains(scan.input(), gain.data());
    add(gain.data() + static_cast<std::int64_t>(size) * concepts, kToFollow, found);
    for (std::size_t t = 0; t < size && size > 1; ++t)
      add(gain.data() + static_cast<std::int64_t>(t) * concepts, kToReplace, found);
  }
  std::vector<float> alone(slope);
  for (float& value : alone) value = std::abs(value);
  add(alone.data(), kByCorrelation, found);
  return found;
}

/// The rows of a split by the group they are dealt to, ascending within each.
std::vector<Rows> deal(Rows rows, std::uint64_t seed, std::uint64_t stream) {
  auto random = Random::stream(seed, stream);
  random.shuffle(rows);
  std::vector<Rows> groups(kGroups);
  for (std::size_t i = 0; i < rows.size(); ++i) groups[i % kGroups].push_back(rows[i]);
  for (Rows& group : groups) std::sort(group.begin(), group.end());
  return groups;
}

/// Packed moments (swept_search.hpp) of each group for each unit, as they are standardised: float64
/// (groups, packed size) a unit.
std::vector<torch::Tensor> group_sums(const Regression& regression, const Rows& rows,
                                      const Terms& used,
                                      const std::vector<std::vector<std::int64_t>>& places,
                                      const std::vector<std::int64_t>& units,
                                      const StabilityOptions& options, std::uint64_t stream) {
  std::vector<torch::Tensor> sums;
  for (const auto& place : places)
    sums.push_back(torch::zeros({kGroups, packed_size(static_cast<std::int64_t>(place.size()))},
                                torch::kFloat64));
  const std::vector<Rows> groups = deal(rows, options.seed, stream);
  constexpr std::int64_t kTileRows = 1024;
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (std::int64_t begin = 0; begin < static_cast<std::int64_t>(groups[g].size());
         begin += kTileRows) {
      const std::int64_t n =
          std::min(kTileRows, static_cast<std::int64_t>(groups[g].size()) - begin);
      const Regression::Tile tile =
          regression.standardised_tile(groups[g], begin, n, used, units, options.threads);
      parallel_for(static_cast<std::int64_t>(units.size()), options.threads, [&](std::int64_t k) {
        const auto& place = places[static_cast<std::size_t>(k)];
        const std::int64_t size = static_cast<std::int64_t>(place.size()) + 2;
        std::vector<float> values(static_cast<std::size_t>(size * n), 1);
        float* out = values.data();
        for (const std::int64_t c : place) out = std::copy_n(tile.presence.data() + c * n, n, out);
        std::copy_n(tile.activations.data() + k * n, n, out);
        const torch::Tensor matrix = torch::from_blob(values.data(), {size, n}, torch::kFloat32);
        const torch::Tensor square = matrix.mm(matrix.t());
        const float* row = square.data_ptr<float>();
        double* sum = sums[static_cast<std::size_t>(k)].data_ptr<double>() +
                      static_cast<std::int64_t>(g) * packed_size(size - 2);
        for (std::int64_t i = 0; i < size; ++i, row += size)
          for (std::int64_t j = 0; j <= i; ++j) *sum++ += static_cast<double>(row[j]);
      });
    }
  return sums;
}

/// How often each group is in each of some resamples: float64 (count, groups).
torch::Tensor draw(std::uint64_t seed, std::uint64_t stream, std::int64_t first,
                   std::int64_t count) {
  torch::Tensor drawn = torch::zeros({count, kGroups}, torch::kFloat64);
  for (std::int64_t b = 0; b < count; ++b) {
    auto random = Random::stream(seed ^ (stream << 32), static_cast<std::uint64_t>(first + b));
    double* const row = drawn.data_ptr<double>() + b * kGroups;
    for (std::int64_t i = 0; i < kGroups; ++i)
      ++row[random.below(static_cast<std::uint64_t>(kGroups))];
  }
  return drawn;
}

/// What the resamples of a unit came to. The explanation's terms are the first candidates.
class Found {
 public:
  explicit Found(std::size_t terms) : taken_(terms), weights_(terms) {}

  void add(const std::vector<int>& set) {
    std::size_t common = 0;
    for (const int j : set)
      if (static_cast<std::size_t>(j) < taken_.size()) {
        ++taken_[static_cast<std::size_t>(j)];
        ++common;
      }
    jaccard_.push_back(static_cast<double>(common) /
                       static_cast<double>(taken_.size() + set.size() - common));
  }
  void refitted(const SweptMoments& fit) {
    for (std::size_t t = 0; t < weights_.size(); ++t) weights_[t].push_back(fit.weight(t));
  }

  /// `high` of the terms: the deviation of their weights, standardised.
  UnitStability summary() const {
    UnitStability result;
    result.jaccard = mean_sem(jaccard_).mean;
    const double count = static_cast<double>(std::max<std::size_t>(1, jaccard_.size()));
    for (std::size_t t = 0; t < taken_.size(); ++t) {
      TermStability term;
      term.frequency = static_cast<double>(taken_[t]) / count;
      const MeanSem mean = mean_sem(weights_[t]);
      if (mean.n > 1) term.high = mean.sem * std::sqrt(static_cast<double>(mean.n));
      result.terms.push_back(term);
    }
    return result;
  }

 private:
  std::vector<std::int64_t> taken_;
  std::vector<std::vector<double>> weights_;
  std::vector<double> jaccard_;
};

}  // namespace

std::vector<UnitStability> stability(Regression& regression, const std::vector<std::int64_t>& units,
                                     const std::vector<Selection>& selections,
                                     const StabilityOptions& options, StabilitySeconds* seconds) {
  using Clock = std::chrono::steady_clock;
  if (options.search.kind != SearchKind::swap && options.search.kind != SearchKind::forward)
    throw std::logic_error("stability repeats the searches swap and forward");
  constexpr std::uint64_t kTrain = 1, kVal = 2;
  std::vector<UnitStability> result(units.size());
  std::vector<std::size_t> asked;  // those with terms
  Terms wanted;
  for (std::size_t i = 0; i < units.size(); ++i)
    if (!selections[i].terms.empty()) {
      asked.push_back(i);
      wanted.insert(wanted.end(), selections[i].terms.begin(), selections[i].terms.end());
    }
  if (asked.empty()) return result;
  const auto start = Clock::now();
  regression.gram->require(wanted);
  std::vector<Terms> candidates(asked.size());
  std::vector<std::int64_t> of;
  for (const std::size_t i : asked) of.push_back(units[i]);
  parallel_for(static_cast<std::int64_t>(asked.size()), options.threads, [&](std::int64_t a) {
    const std::size_t at = static_cast<std::size_t>(a);
    candidates[at] = candidates_of(regression, of[at], selections[asked[at]].terms);
  });
  Terms used;
  for (const Terms& some : candidates) used.insert(used.end(), some.begin(), some.end());
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  std::vector<Terms> places;
  for (const Terms& some : candidates) {
    places.emplace_back();
    for (const std::int64_t j : some)
      places.back().push_back(std::lower_bound(used.begin(), used.end(), j) - used.begin());
  }
  const auto before_moments = Clock::now();
  const auto train =
      group_sums(regression, regression.split().train, used, places, of, options, kTrain);
  const auto val = group_sums(regression, regression.split().val, used, places, of, options, kVal);

  const auto after_moments = Clock::now();

  std::vector<Found> found;
  for (const std::size_t i : asked) found.emplace_back(selections[i].terms.size());
  constexpr std::int64_t kAtOnce = 64;  // resamples: what a thread holds stays in its cache
  for (std::int64_t first = 0; first < options.resamples; first += kAtOnce) {
    const std::int64_t count = std::min(kAtOnce, options.resamples - first);
    const torch::Tensor train_counts = draw(options.seed, kTrain, first, count),
                        val_counts = draw(options.seed, kVal, first, count);
    parallel_for(static_cast<std::int64_t>(asked.size()), options.threads, [&](std::int64_t a) {
      const std::size_t at = static_cast<std::size_t>(a);
      const int size = static_cast<int>(candidates[at].size());
      const torch::Tensor here = train_counts.mm(train[at]), there = val_counts.mm(val[at]);
      SweptMoments moments;
      for (std::int64_t b = 0; b < count; ++b) {
        const double* const fitted = here.data_ptr<double>() + b * packed_size(size);
        const double* const held = there.data_ptr<double>() + b * packed_size(size);
        if (fitted[packed_size(size) - 1] == 0 || held[packed_size(size) - 1] == 0) continue;
        moments.set(fitted, size);
        if (!(moments.mean_square() > 0)) {
          found[at].add({});
          continue;
        }
        found[at].add(search_swept(moments, held, size, options.search));
        moments.set(fitted, size);
        bool independent = true;
        for (std::size_t t = 0; t < selections[asked[at]].terms.size() && independent; ++t)
          independent = moments.take(static_cast<int>(t));
        if (independent) found[at].refitted(moments);
      }
    });
  }
  for (std::size_t a = 0; a < asked.size(); ++a) {
    const Selection& selection = selections[asked[a]];
    UnitStability& unit = result[asked[a]] = found[a].summary();
    for (std::size_t t = 0; t < unit.terms.size(); ++t) {
      TermStability& term = unit.terms[t];
      if (std::isnan(term.high)) continue;
      // The normal interval: percentiles of so few resamples are rougher.
      const double half =
          1.959963984540054 * regression.raw_weight(of[a], selection.terms[t], term.high);
      term.low = selection.weight[t] - half;
      term.high = selection.weight[t] + half;
    }
  }
  if (seconds) {
    const std::chrono::duration<double> moments = after_moments - before_moments,
                                        all = Clock::now() - start;
    seconds->moments += moments.count();
    seconds->search += all.count() - moments.count();
  }
  return result;
}

}  // namespace linex
