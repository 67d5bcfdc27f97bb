#include "toolkit/math/row_cuts.hpp"

#include <algorithm>

namespace linex {

namespace {

/// Rows a float32 product may span, a power of two: products are cut there whatever the tiles are.
/// Rounding of a product grows with √depth and averages out over n/depth of them; a small problem
/// can afford shallow ones, and a wide one no others: a tile holds one product at least.
std::int64_t depth_for(std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kLeast = 32, kMost = 4096, kTileValues = std::int64_t{1} << 26;
  std::int64_t depth = kLeast;
  while (depth < kMost && depth * 32 <= rows && depth * 2 * cols <= kTileValues) depth *= 2;
  return depth;
}

/// Pieces of each rank: `n` of them, each to a rank that has least so far.
void deal(std::int64_t n, std::int64_t size, std::vector<std::int64_t>& rows,
          std::vector<std::int64_t>& pieces) {
  for (; n > 0; --n) {
    const auto least = std::min_element(rows.begin(), rows.end());
    *least += size;
    ++pieces[static_cast<std::size_t>(least - rows.begin())];
  }
}

}  // namespace

RowCuts::RowCuts(std::int64_t total, std::int64_t cols)
    : total_(total), depth_(depth_for(total, cols)) {
  const std::int64_t deep = std::max(depth_, kGrain);
  fine_ = std::max(deep / 4, kGrain);
  tail_ = std::max<std::int64_t>(0, total / deep - (fine_ < deep ? 2 : 0)) * deep;
}

std::vector<RowRange> RowCuts::share(int rank, int ranks) const {
  const std::int64_t deep = std::max(depth_, kGrain);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(ranks)), of_deep(rows), of_fine(rows);
  deal(tail_ / deep, deep, rows, of_deep);
  deal((total_ - tail_ + fine_ - 1) / fine_, fine_, rows, of_fine);
  std::vector<RowRange> ranges;
  const auto add = [&](std::int64_t first, const std::vector<std::int64_t>& pieces,
                       std::int64_t size, std::int64_t depth) {
    for (int before = 0; before < rank; ++before)
      first += pieces[static_cast<std::size_t>(before)] * size;
    const std::int64_t end =
        std::min(total_, first + pieces[static_cast<std::size_t>(rank)] * size);
    if (first < end) ranges.push_back({first, end, depth});
  };
  add(0, of_deep, deep, depth_);
  add(tail_, of_fine, fine_, std::min(depth_, fine_));
  return ranges;
}

std::int64_t RowCuts::tile(std::int64_t wanted) const {
  const std::int64_t deep = std::max(depth_, kGrain);
  return std::max(deep, wanted / deep * deep);
}

}  // namespace linex
