#include "toolkit/math/stability.hpp"

#include <limits>
#include <stdexcept>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/dense_search.hpp"

namespace linex {

namespace {

using Terms = std::vector<std::int64_t>;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr std::int64_t kGroups = 32;
constexpr std::size_t kMostCandidates = 40;
constexpr int kByCorrelation = 10, kToFollow = 6, kToReplace = 4;

/// The search of forward and swap among a few candidates, and its stop.
std::vector<Index> search_dense(const CentredMoments& train, const CentredMoments& val,
                                const SearchOptions& options) {
  std::vector<LengthFound> lengths;
  std::vector<std::vector<Index>> found;
  DenseTerms set(train);
  while (static_cast<std::int64_t>(set.terms().size()) < options.max_length) {
    const auto [added, gain] = set.best_addition(options.non_negative);
    std::vector<Index> next = set.terms();
    next.push_back(added);
    if (added < 0 || !set.set(next)) break;
    if (options.kind == SearchKind::swap && next.size() > 1)
      for (int swaps = 0;
           swaps < 100 && improve_by_swap(train, set, options.non_negative, train.q.size());)
        ++swaps;
    VectorXd weight = set.weight();
    if (options.non_negative) weight = weight.cwiseMax(0);
    const double fitted = std::sqrt(std::max(0.0, set.explained() / train.mean_square));
    lengths.push_back({static_cast<std::int64_t>(lengths.size()) + 1, fitted,
                       dense_correlation(val, set.terms(), weight)});
    found.push_back(set.terms());
    const double least = std::min(options.tolerance, options.term_price());
    if (lengths.size() > 1 && fitted - lengths[lengths.size() - 2].train < least) break;
  }
  const std::int64_t chosen = choose_length(lengths, options.term_price());
  return chosen < 0 ? std::vector<Index>() : found[static_cast<std::size_t>(chosen)];
}

Terms candidates_of(const Regression& regression, std::int64_t unit, const Terms& terms) {
  Terms found = terms;
  add_largest(gains(regression, unit, terms), kToFollow, kMostCandidates, found);
  for (std::size_t t = 0; t < terms.size() && terms.size() > 1; ++t) {
    Terms rest = terms;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(t));
    add_largest(gains(regression, unit, rest), kToReplace, kMostCandidates, found);
  }
  add_largest(gains(regression, unit, {}), kByCorrelation, kMostCandidates, found);
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

/// Moments of each group for each unit.
std::vector<std::vector<SecondMoments>> group_sums(const Regression& regression, const Rows& rows,
                                                   const Terms& used,
                                                   const std::vector<std::vector<Index>>& places,
                                                   const std::vector<std::int64_t>& units,
                                                   const StabilityOptions& options,
                                                   std::uint64_t stream) {
  std::vector<std::vector<SecondMoments>> sums(units.size(), std::vector<SecondMoments>(kGroups));
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
        const Index size = static_cast<Index>(place.size());
        MatrixXd values(n, size + 1);
        for (Index c = 0; c < size; ++c) {
          const float* const column = tile.presence.data() + place[static_cast<std::size_t>(c)] * n;
          for (Index i = 0; i < n; ++i) values(i, c) = static_cast<double>(column[i]);
        }
        const float* const column = tile.activations.data() + k * n;
        for (Index i = 0; i < n; ++i) values(i, size) = static_cast<double>(column[i]);
        SecondMoments& here = sums[static_cast<std::size_t>(k)][g];
        here.add(values);
      });
    }
  return sums;
}

/// How often each group is in a resample.
std::vector<double> draw(std::uint64_t seed, std::uint64_t stream, std::int64_t resample) {
  auto random = Random::stream(seed ^ (stream << 32), static_cast<std::uint64_t>(resample));
  std::vector<double> count(kGroups);
  for (std::int64_t i = 0; i < kGroups; ++i)
    ++count[static_cast<std::size_t>(random.below(static_cast<std::uint64_t>(kGroups)))];
  return count;
}

SecondMoments resampled(const std::vector<SecondMoments>& groups,
                        const std::vector<double>& count) {
  SecondMoments total;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (count[g] == 0 || groups[g].n == 0) continue;
    if (total.n == 0) {
      total.sum = VectorXd::Zero(groups[g].sum.size());
      total.square = MatrixXd::Zero(groups[g].sum.size(), groups[g].sum.size());
    }
    total.n += count[g] * groups[g].n;
    total.sum += count[g] * groups[g].sum;
    total.square += count[g] * groups[g].square;
  }
  return total;
}

UnitStability summarise(const std::vector<std::vector<Index>>& found,
                        const std::vector<VectorXd>& weights, std::size_t terms) {
  UnitStability result;
  result.terms.resize(terms);
  std::vector<double> jaccard;
  for (const auto& set : found) {
    std::size_t common = 0;
    // The explanation's terms are the first candidates.
    for (const Index j : set)
      if (static_cast<std::size_t>(j) < terms) {
        result.terms[static_cast<std::size_t>(j)].frequency += 1;
        ++common;
      }
    jaccard.push_back(static_cast<double>(common) /
                      static_cast<double>(terms + set.size() - common));
  }
  result.jaccard = mean_sem(jaccard).mean;
  for (std::size_t t = 0; t < terms; ++t) {
    result.terms[t].frequency /= static_cast<double>(std::max<std::size_t>(1, found.size()));
    std::vector<double> values;
    for (const VectorXd& weight : weights) values.push_back(weight[static_cast<Index>(t)]);
    const MeanSem mean = mean_sem(values);
    if (mean.n > 1) result.terms[t].high = mean.sem * std::sqrt(static_cast<double>(mean.n));
  }
  return result;
}

}  // namespace

std::vector<UnitStability> stability(Regression& regression, const std::vector<std::int64_t>& units,
                                     const std::vector<Selection>& selections,
                                     const StabilityOptions& options) {
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
  std::vector<std::vector<Index>> places;
  for (const Terms& some : candidates) {
    places.emplace_back();
    for (const std::int64_t j : some)
      places.back().push_back(std::lower_bound(used.begin(), used.end(), j) - used.begin());
  }
  const auto train =
      group_sums(regression, regression.split().train, used, places, of, options, kTrain);
  const auto val = group_sums(regression, regression.split().val, used, places, of, options, kVal);

  std::vector<std::vector<double>> train_counts, val_counts;
  for (std::int64_t b = 0; b < options.resamples; ++b) {
    train_counts.push_back(draw(options.seed, kTrain, b));
    val_counts.push_back(draw(options.seed, kVal, b));
  }
  parallel_for(static_cast<std::int64_t>(asked.size()), options.threads, [&](std::int64_t a) {
    const std::size_t at = static_cast<std::size_t>(a);
    const Selection& selection = selections[asked[at]];
    const std::size_t terms = selection.terms.size();
    std::vector<Index> own(terms);
    for (std::size_t t = 0; t < terms; ++t) own[t] = static_cast<Index>(t);
    std::vector<std::vector<Index>> found;
    std::vector<VectorXd> weights;
    for (std::size_t b = 0; b < train_counts.size(); ++b) {
      const SecondMoments here = resampled(train[at], train_counts[b]),
                          there = resampled(val[at], val_counts[b]);
      if (here.n == 0 || there.n == 0) continue;
      const CentredMoments fitted(here);
      if (!(fitted.mean_square > 0)) {
        found.emplace_back();
        continue;
      }
      found.push_back(search_dense(fitted, CentredMoments(there), options.search));
      DenseTerms refit(fitted);
      if (refit.set(own)) weights.push_back(refit.weight());
    }
    UnitStability& unit = result[asked[at]] = summarise(found, weights, terms);
    for (std::size_t t = 0; t < terms; ++t) {
      TermStability& term = unit.terms[t];
      if (std::isnan(term.high)) continue;
      // The normal interval: percentiles of so few resamples are rougher.
      const double half =
          1.959963984540054 * regression.raw_weight(of[at], selection.terms[t], term.high);
      term.low = selection.weight[t] - half;
      term.high = selection.weight[t] + half;
    }
  });
  return result;
}

}  // namespace linex
