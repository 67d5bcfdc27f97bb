// Where the rows of a sum of products are cut, and which of them are a rank's.
#pragma once

#include <cstdint>
#include <vector>

namespace linex {

/// Rows [begin, end); products span `depth` of them, from `begin` on.
struct RowRange {
  std::int64_t begin = 0, end = 0, depth = 0;
  std::int64_t size() const { return end - begin; }
};

/// Cuts of `total` rows: they depend on nothing but rows and columns, so that tiles, threads and
/// ranks do not matter. The first rows are cut into deep products. The last two or three such are
/// cut finer: with them the shares of a few ranks come out equal.
class RowCuts {
 public:
  /// Presence that is computed is computed for the same rows together: every range begins at a
  /// multiple of it.
  static constexpr std::int64_t kGrain = 256;

  RowCuts(std::int64_t total, std::int64_t cols);

  /// The share of `rank`: at most two ranges, none of them empty. All shares together are all rows.
  std::vector<RowRange> share(int rank, int ranks) const;
  /// Rows a product spans at most.
  std::int64_t depth() const { return depth_; }
  /// Rows to read at a time, at most `wanted` of them where that is enough for one product.
  std::int64_t tile(std::int64_t wanted) const;

 private:
  std::int64_t total_, depth_, fine_, tail_;  // from row tail_ on products are fine_ deep
};

}  // namespace linex
