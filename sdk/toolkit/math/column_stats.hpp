// A first look at the columns of a matrix, row tile by row tile.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "toolkit/math/row_source.hpp"

namespace linex {

/// Called between tiles with the number of rows done since the last call; may throw to stop.
using Tick = std::function<void(std::int64_t rows)>;

/// Statistics of each column over some rows, exact to double rounding.
struct ColumnStats {
  std::int64_t rows = 0;
  std::vector<double> mean;
  std::vector<double> std;       ///< n − 1 in the denominator; exactly 0 for a constant column
  std::vector<double> top_mean;  ///< mean of the five largest values (of all, when fewer)
  std::vector<float> low, high;  ///< smallest and largest value
};

/// Reads `rows` of `source` once. Same bytes for any `threads`. Throws Error(input) naming row and
/// column of a value that is not finite.
ColumnStats column_stats(const RowSource& source, const Rows& rows, int threads,
                         const Tick& tick = {});

/// Whether values between `low` and `high` differ by more than float rounding at their own size.
/// The one meaning of a dead unit, whatever its network's scale: one that does not vary over all
/// images.
bool varies(float low, float high);

/// Concepts worth explaining with: mean of the five largest ≥ `least` (published: 0.5) and
/// std ≥ 1e-5 (docs/methods.md §1.4), ascending.
std::vector<std::int64_t> present_concepts(const ColumnStats& stats, double least);

}  // namespace linex
