#include "core/report/comparison.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>
#include <numeric>

namespace linex {

namespace {

/// Of the hypothesis that paired differences with this mean have the mean 0.
double paired_t(const MeanSem& difference) {
  if (difference.n < 2) return kNone;
  if (difference.mean == 0) return 1;
  if (!(difference.sem > 0)) return 0;
  const boost::math::students_t distribution(static_cast<double>(difference.n - 1));
  const double t = std::fabs(difference.mean / difference.sem);
  return 2 * boost::math::cdf(boost::math::complement(distribution, t));
}

/// The score of each unit's first row.
std::map<std::int64_t, double> by_unit(const std::vector<Explanation>& explanations,
                                       const ScoreColumn& score) {
  std::map<std::int64_t, double> values;
  for (std::size_t i = 0; i < explanations.size() && i < score.value.size(); ++i)
    values.emplace(explanations[i].unit, score.value[i]);
  return values;
}

}  // namespace

bool Comparison::first_ahead(bool higher_is_better) const {
  return (higher_is_better ? difference.mean : -difference.mean) > difference.sem;
}

Comparison Comparison::turned() const {
  Comparison other = *this;
  other.difference.mean = -other.difference.mean;
  std::swap(other.wins, other.losses);
  return other;
}

std::string Comparison::outcome() const {
  return std::to_string(wins) + " : " + std::to_string(ties) + " : " + std::to_string(losses);
}

Comparison compare_methods(const std::vector<Explanation>& first, const ScoreColumn& first_score,
                           const std::vector<Explanation>& second,
                           const ScoreColumn& second_score) {
  Comparison comparison;
  std::vector<double> differences;
  const auto others = by_unit(second, second_score);
  for (const auto& [unit, value] : by_unit(first, first_score)) {
    const auto other = others.find(unit);
    if (other == others.end()) continue;
    double difference = value - other->second;
    if (!std::isfinite(difference)) continue;
    if (std::fabs(difference) < kTie) difference = 0;
    differences.push_back(difference);
    const double gain = first_score.higher_is_better ? difference : -difference;
    ++(gain > 0 ? comparison.wins : gain < 0 ? comparison.losses : comparison.ties);
  }
  comparison.difference = mean_sem(differences);
  comparison.p = paired_t(comparison.difference);
  return comparison;
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> corrected = p;
  double most = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    most = std::max(most, std::min(1.0, p[order[rank]] * static_cast<double>(order.size() - rank)));
    corrected[order[rank]] = most;
  }
  return corrected;
}

}  // namespace linex
