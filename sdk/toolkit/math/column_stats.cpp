#include "toolkit/math/column_stats.hpp"

#include <array>
#include <limits>

#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

// Rows for every thread to read; as few as stay near the cores where rows are long.
constexpr std::int64_t kTileRows = 2048, kLeastRows = 256, kTileValues = std::int64_t{1} << 24;
constexpr std::int64_t kColsPerTask = 256;
constexpr int kTop = 5;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// Running sums of one column. Values are taken relative to the column's first one, so a constant
/// column has a variance of exactly zero whatever its value.
struct Running {
  std::vector<float> first, low, high;
  std::vector<double> sum, square;
  std::array<std::vector<float>, kTop> top;  // descending

  explicit Running(std::size_t cols)
      : first(cols), low(cols, -kLowest), high(cols, kLowest), sum(cols), square(cols) {
    top.fill(std::vector<float>(cols, kLowest));
  }

  void keep_top(std::size_t j, float value) {
    for (auto& place : top)
      if (value > place[j]) std::swap(value, place[j]);
  }

  void add(const float* row, std::size_t begin, std::size_t end) {
    int exceeds = 0;
#pragma omp simd reduction(+ : exceeds)
    for (std::size_t j = begin; j < end; ++j) {
      const double d = static_cast<double>(row[j]) - static_cast<double>(first[j]);
      sum[j] += d;
      square[j] += d * d;
      low[j] = row[j] < low[j] ? row[j] : low[j];
      high[j] = row[j] > high[j] ? row[j] : high[j];
      exceeds += row[j] > top[kTop - 1][j];
    }
    if (!exceeds) return;
    for (std::size_t j = begin; j < end; ++j)
      if (row[j] > top[kTop - 1][j]) keep_top(j, row[j]);
  }
};

}  // namespace

ColumnStats column_stats(const RowSource& source, const Rows& rows, int threads, const Tick& tick) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), cols = source.cols;
  Running running(static_cast<std::size_t>(cols));
  const std::int64_t tile_rows =
      std::clamp(kTileValues / std::max<std::int64_t>(cols, 1), kLeastRows, kTileRows);
  std::vector<float> tile(static_cast<std::size_t>(std::min(n, tile_rows) * cols));
  for (std::int64_t begin = 0; begin < n; begin += tile_rows) {
    const std::int64_t count = std::min(tile_rows, n - begin);
    read_tile(source, rows, begin, count, threads, tile.data());
    if (begin == 0) std::copy_n(tile.begin(), cols, running.first.begin());
    parallel_for((cols + kColsPerTask - 1) / kColsPerTask, threads_for(count * cols * 8, threads),
                 [&](std::int64_t task) {
                   const std::int64_t first = task * kColsPerTask,
                                      last = std::min(cols, first + kColsPerTask);
                   for (std::int64_t i = 0; i < count; ++i)
                     running.add(tile.data() + i * cols, static_cast<std::size_t>(first),
                                 static_cast<std::size_t>(last));
                 });
    if (tick) tick(count);
  }

  ColumnStats stats;
  stats.rows = n;
  stats.low = std::move(running.low);
  stats.high = std::move(running.high);
  const double count = static_cast<double>(n);
  for (std::size_t j = 0; j < static_cast<std::size_t>(cols); ++j) {
    const double mean = n ? running.sum[j] / count : 0;
    const double spread = std::max(0.0, running.square[j] - running.sum[j] * mean);
    stats.mean.push_back(running.first[j] + mean);
    stats.std.push_back(n > 1 && stats.low[j] < stats.high[j] ? std::sqrt(spread / (count - 1))
                                                              : 0.0);
    double top = 0;
    const int places = static_cast<int>(std::min<std::int64_t>(n, kTop));
    for (int place = 0; place < places; ++place) top += running.top[place][j];
    stats.top_mean.push_back(places ? top / places : 0.0);
  }
  return stats;
}

bool varies(float low, float high) {
  constexpr double kRounding = 1e-6;
  const double size =
      std::max(std::fabs(static_cast<double>(low)), std::fabs(static_cast<double>(high)));
  return static_cast<double>(high) - static_cast<double>(low) > kRounding * size;
}

std::vector<std::int64_t> present_concepts(const ColumnStats& stats, double least) {
  std::vector<std::int64_t> concepts;
  for (std::size_t j = 0; j < stats.mean.size(); ++j)
    if (stats.top_mean[j] >= least && stats.std[j] >= 1e-5)
      concepts.push_back(static_cast<std::int64_t>(j));
  return concepts;
}

}  // namespace linex
