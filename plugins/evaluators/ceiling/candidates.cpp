#include "candidates.hpp"

#include <algorithm>
#include <cmath>

namespace linex {

void ColumnCorrelation::add(const double* predicted, const double* actual, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (Sums& sum : sums_) {
      const double p = *predicted++, a = *actual++;
      sum.p += p;
      sum.pp += p * p;
      sum.a += a;
      sum.aa += a * a;
      sum.pa += p * a;
    }
  rows_ += static_cast<double>(rows);
}

double ColumnCorrelation::of(std::size_t unit) const {
  const Sums& sum = sums_[unit];
  const double vp = sum.pp - sum.p * sum.p / rows_, va = sum.aa - sum.a * sum.a / rows_;
  // Rounding of the sums is all that is left of a constant: it is no variance.
  if (!(vp > 1e-12 * sum.pp) || !(va > 1e-12 * sum.aa)) return kNone;
  return std::clamp((sum.pa - sum.p * sum.a / rows_) / std::sqrt(vp * va), -1.0, 1.0);
}

}  // namespace linex
