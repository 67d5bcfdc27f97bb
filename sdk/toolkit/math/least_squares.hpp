// Least squares on a few concepts, from second moments.
#pragma once

#include <cstdint>
#include <vector>

#include "toolkit/math/gram.hpp"

namespace linex {

/// A fit of one unit on `terms`, standardised.
struct TermFit {
  std::vector<double> weight;   ///< one a term; empty where the terms are linearly dependent
  std::vector<double> inverse;  ///< (L, L) inverse of Q over the terms
  double explained = 0;         ///< wᵀ(2q − Qw): mean square the fit explains
};

/// argmin_w ½wᵀQw − qᵀw over the terms, `q` of all concepts. Needs the rows of all terms.
TermFit least_squares(const Gram& gram, const double* q, const std::vector<std::int64_t>& terms);

/// The same with w ≥ 0 (exact active-set method); terms may come out with weight 0. `inverse` is
/// empty.
TermFit non_negative_least_squares(const Gram& gram, const double* q,
                                   const std::vector<std::int64_t>& terms);

}  // namespace linex
