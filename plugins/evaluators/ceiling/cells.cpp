#include "cells.hpp"

#include <algorithm>
#include <cstring>

namespace linex {

namespace {

constexpr std::int64_t kTileRows = 256;

/// Calls body(i, key) with the bytes of each row in turn until it returns false.
template <class Body>
void each_row(const RowSource& presence, const Rows& rows, int threads, const Body& body) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), cols = presence.cols;
  std::vector<float> tile(static_cast<std::size_t>(std::min(n, kTileRows) * cols));
  std::string key(static_cast<std::size_t>(cols) * sizeof(float), '\0');
  for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
    const std::int64_t count = std::min(kTileRows, n - begin);
    read_tile(presence, rows, begin, count, threads, tile.data());
    for (std::int64_t i = 0; i < count; ++i) {
      float* const row = tile.data() + i * cols;
      for (std::int64_t j = 0; j < cols; ++j) row[j] += 0.0F;  // -0 is 0
      std::memcpy(&key[0], row, key.size());
      if (!body(static_cast<std::size_t>(begin + i), key)) return;
    }
  }
}

}  // namespace

Cells::Cells(const RowSource& presence, const Rows& rows, std::int64_t most, int threads) {
  each_row(presence, rows, threads, [&](std::size_t, const std::string& key) {
    index_.emplace(key, count());
    return complete_ = count() <= most;
  });
}

std::vector<std::int64_t> Cells::of(const RowSource& presence, const Rows& rows,
                                    int threads) const {
  std::vector<std::int64_t> cells(rows.size(), -1);
  each_row(presence, rows, threads, [&](std::size_t i, const std::string& key) {
    const auto found = index_.find(key);
    if (found != index_.end()) cells[i] = found->second;
    return true;
  });
  return cells;
}

}  // namespace linex
