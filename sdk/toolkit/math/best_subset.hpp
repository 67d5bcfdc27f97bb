// The best concepts of a given number, proven: branch and bound over the moments of one unit.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "toolkit/math/gram.hpp"

namespace linex {

/// The best set of some number of terms that was found, and what no set of as many exceeds.
struct SubsetFound {
  std::vector<std::int64_t> terms;  ///< ascending
  double explained = 0;             ///< wᵀ(2q − Qw) of least squares on them
  double bound = 0;                 ///< ≥ that of every set of as many independent terms
  bool certified = false;           ///< none explains more, beyond a millionth of mean(y²)
};

/// Searches one unit. Every row of the Gram matrix must be there.
///
/// Method: sets are enumerated by their terms in the order of the concepts' correlation with the
/// unit, strongest first. A set whose first term is the i-th can explain no more than all concepts
/// from the i-th on together (leaps and bounds; Furnival and Wilson 1974), which one Cholesky
/// factorisation gives for every i; below that, the same of what the terms so far leave over, where
/// no more than 48 concepts are left. The last term is found by one scan. Moments are float32: what
/// their rounding decides is not certain.
class BestSubset {
 public:
  /// `q` of all concepts and mean(y²), standardised; lent. Concepts as many as the Gram matrix has.
  BestSubset(const Gram& gram, const double* q, double mean_square, double diagonal);
  ~BestSubset();

  /// The best `count` terms, starting from what is known: a set of as many terms. Ends after
  /// `scans` scans, or once `stop` returns true, uncertified; it is asked now and then.
  SubsetFound find(std::int64_t count, const std::vector<std::int64_t>& known, std::int64_t scans,
                   const std::function<bool()>& stop = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace linex
