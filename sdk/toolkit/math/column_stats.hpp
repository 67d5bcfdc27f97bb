// A first look at the columns of a matrix, row tile by row tile.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "linex/cluster.hpp"
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

/// Reads `rows` of `source` once; in a cluster each rank its share, and all end with the same. Same
/// bytes for any `threads` and any number of ranks: sums are those of fixed shards of rows, added
/// in their order. Throws Error(input) naming row and column of a value that is not finite.
ColumnStats column_stats(const RowSource& source, const Rows& rows, int threads,
                         const Tick& tick = {}, const Cluster* cluster = nullptr);

/// Where columns lie: values are taken relative to `shift`, and the sum over the rows of their
/// squares is then at most reach².
struct ColumnReach {
  std::vector<double> shift, reach;
};
/// Around the means, over the rows of `stats` or any part of them.
ColumnReach around_mean(const ColumnStats& stats);
/// Around 0, likewise.
ColumnReach around_zero(const ColumnStats& stats);

/// Whether values between `low` and `high` differ by more than float rounding at their own size.
/// The one meaning of a dead unit, whatever its network's scale: one that does not vary over all
/// images.
bool varies(float low, float high);

/// Concepts worth explaining with: mean of the five largest ≥ `least` (published: 0.5) and
/// std ≥ 1e-5 (docs/methods.md §1.4), ascending.
std::vector<std::int64_t> present_concepts(const ColumnStats& stats, double least);

}  // namespace linex
