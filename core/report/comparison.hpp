// Methods against each other, unit by unit: the one rule of report page and benchmark table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "toolkit/base/stats.hpp"

namespace linex {

/// Two scores of a unit that differ by less are equal.
inline constexpr double kTie = 1e-6;

/// Two methods on the units that both have a score for.
struct Comparison {
  MeanSem difference{kNone, kNone, 0};          ///< first − second; a tie counts as 0
  std::int64_t wins = 0, ties = 0, losses = 0;  ///< of the first method
  double p = kNone;                             ///< two-sided paired t-test; NaN below two units

  /// Whether the first method is ahead by more than the standard error of the mean difference.
  bool first_ahead(bool higher_is_better) const;
  /// As the second method sees it.
  Comparison turned() const;
  /// "49 : 0 : 15".
  std::string outcome() const;
};

/// Pairs units by number, of a unit explained twice the first row. Wins respect higher_is_better.
Comparison compare_methods(const std::vector<Explanation>& first, const ScoreColumn& first_score,
                           const std::vector<Explanation>& second, const ScoreColumn& second_score);

/// Holm's step-down correction of a family of p-values, in their order. NaN stays and is no member.
std::vector<double> holm(const std::vector<double>& p);

}  // namespace linex
