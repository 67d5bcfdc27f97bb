// The search of forward and swap among few candidates, fast enough to be repeated for every
// resample of every unit. For the toolkit's own sources; not installed.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "toolkit/math/search.hpp"

namespace linex {

/// Sums of products of c candidates, the unit and ones, in this order: the lower triangle of that
/// (c + 2, c + 2) matrix, row by row.
inline std::int64_t packed_size(std::int64_t candidates) {
  return (candidates + 2) * (candidates + 3) / 2;
}

/// Least squares of a unit on chosen candidates: its centred second moments with the terms swept
/// out (Goodnight, A Tutorial on the SWEEP Operator, 1979), so that what adding, leaving out or
/// exchanging a term would give stands in them.
class SweptMoments {
 public:
  /// `packed`: as above, of at least one row. No terms are chosen.
  void set(const double* packed, int candidates);

  const std::vector<int>& terms() const { return terms_; }
  /// Of the term at `position`.
  double weight(std::size_t position) const { return row(terms_[position])[unit_]; }
  double mean_square() const { return mean_square_; }
  double explained() const { return mean_square_ - row(unit_)[unit_]; }

  /// False, and nothing changes, where the candidate depends on the terms.
  bool take(int candidate);
  /// The candidate that explains most beside the terms; -1 for none.
  int best_addition(bool non_negative) const;
  /// The exchange of a term that explains most, taken; false where none explains more.
  bool improve(bool non_negative);

 private:
  double* row(int i) { return at_.data() + i * stride_; }
  const double* row(int i) const { return at_.data() + i * stride_; }
  bool independent(int candidate, double variance) const;
  void sweep(int k, double sign);

  int unit_ = 0;  ///< its row: behind the candidates
  int stride_ = 0;
  double mean_square_ = 0;
  std::vector<int> terms_;
  std::vector<double> at_;        ///< (unit + 1, stride)
  std::vector<double> diagonal_;  ///< before anything was swept
  std::vector<double> pivot_row_;
};

/// Pearson's correlation of the weighted terms and the unit on the rows of `packed`; kNone where
/// either is constant.
double packed_correlation(const double* packed, int candidates, const std::vector<int>& terms,
                          const std::vector<double>& weight);

/// The terms that the search (forward or swap) and its stop take; `moments` has none chosen.
std::vector<int> search_swept(SweptMoments& moments, const double* val, int candidates,
                              const SearchOptions& options);

}  // namespace linex
