#include "toolkit/math/column_stats.hpp"

#include <array>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "toolkit/base/huge_pages.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/base/wide.hpp"

namespace linex {

namespace {

// Rows for every thread to read; as few as stay near the cores where rows are long. Multiples of
// kLeastRows, so that presence that is computed is computed for the same rows together.
constexpr std::int64_t kTileRows = 2048, kLeastRows = 256, kTileValues = std::int64_t{1} << 24;
// What ranks send each other is that many times the result at most.
constexpr std::int64_t kShards = 256;
constexpr std::int64_t kColsPerTask = 256, kRowsAhead = 4;
constexpr int kTop = 5;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// What is added up, a value a column.
struct Columns {
  const float* first;
  float *low, *high;
  const float* least_of_top;
  double *sum, *square;
};

/// A row's part is a page of its own, before which the processor's own prefetching ends.
void fetch(const float* values, std::int64_t n) {
  constexpr std::int64_t kLine = 16;
  for (std::int64_t j = 0; j < n; j += kLine) __builtin_prefetch(values + j);
}

/// Whether any of the values of columns [begin, end) is among the largest of its column.
LINEX_WIDE bool add_row(const float* row, std::size_t begin, std::size_t end, const Columns& to) {
  int exceeds = 0;
#pragma omp simd reduction(+ : exceeds)
  for (std::size_t j = begin; j < end; ++j) {
    const double d = static_cast<double>(row[j]) - static_cast<double>(to.first[j]);
    to.sum[j] += d;
    to.square[j] += d * d;
    to.low[j] = row[j] < to.low[j] ? row[j] : to.low[j];
    to.high[j] = row[j] > to.high[j] ? row[j] : to.high[j];
    exceeds += row[j] > to.least_of_top[j];
  }
  return exceeds > 0;
}

/// Running sums of all columns. Values are taken relative to the column's first one, so a constant
/// column has a variance of exactly zero whatever its value.
struct Running {
  std::vector<float> first, low, high;
  std::vector<double> sum, square;
  std::array<std::vector<float>, kTop> top;  // descending

  explicit Running(std::vector<float> first_row) : first(std::move(first_row)) { clear(); }

  void clear() {
    const std::size_t cols = first.size();
    low.assign(cols, -kLowest);
    high.assign(cols, kLowest);
    sum.assign(cols, 0);
    square.assign(cols, 0);
    top.fill(std::vector<float>(cols, kLowest));
  }

  void keep_top(std::size_t j, float value) {
    for (auto& place : top)
      if (value > place[j]) std::swap(value, place[j]);
  }

  void add(const float* row, std::size_t begin, std::size_t end) {
    const Columns columns{first.data(),         low.data(), high.data(),
                          top[kTop - 1].data(), sum.data(), square.data()};
    if (!add_row(row, begin, end, columns)) return;
    for (std::size_t j = begin; j < end; ++j)
      if (row[j] > top[kTop - 1][j]) keep_top(j, row[j]);
  }

  /// Appends later rows.
  void add(const Running& later) {
    for (std::size_t j = 0; j < first.size(); ++j) {
      sum[j] += later.sum[j];
      square[j] += later.square[j];
      low[j] = std::min(low[j], later.low[j]);
      high[j] = std::max(high[j], later.high[j]);
      for (const auto& place : later.top) keep_top(j, place[j]);
    }
  }

  /// Everything but the first row, as bytes; and back, from their position `at`.
  void append_to(std::string& bytes) const {
    const auto append = [&](const auto& values) {
      bytes.append(reinterpret_cast<const char*>(values.data()), sizeof values[0] * values.size());
    };
    append(sum), append(square), append(low), append(high);
    for (const auto& place : top) append(place);
  }
  void take_from(const std::string& bytes, std::size_t& at) {
    const auto take = [&](auto& values) {
      const std::size_t size = sizeof values[0] * values.size();
      if (bytes.size() - at < size) throw std::logic_error("column_stats: a rank sent too little");
      std::memcpy(values.data(), bytes.data() + at, size);
      at += size;
    };
    take(sum), take(square), take(low), take(high);
    for (auto& place : top) take(place);
  }
};

}  // namespace

ColumnStats column_stats(const RowSource& source, const Rows& rows, int threads, const Tick& tick,
                         const Cluster* cluster) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), cols = source.cols;
  const std::int64_t tile_rows =
      std::clamp(kTileValues / std::max<std::int64_t>(cols, 1), kLeastRows, kTileRows) /
      kLeastRows * kLeastRows;
  const std::int64_t tiles = (n + tile_rows - 1) / tile_rows;
  const std::int64_t shard_rows =
      tile_rows * std::max<std::int64_t>(1, (tiles + kShards - 1) / kShards);
  const Share share = share_of(n, shard_rows, cluster);

  std::vector<float> first(static_cast<std::size_t>(cols));
  if (n > 0) read_tile(source, rows, 0, 1, 1, first.data());
  Running running(first), shard(std::move(first));
  std::string of_shards;  // those of this rank
  const torch::Tensor tile = empty_on_huge_pages({std::min(n, tile_rows), cols}, at::kFloat);
  float* const values = tile.data_ptr<float>();
  for (std::int64_t begin = share.begin; begin < share.end; begin += tile_rows) {
    const std::int64_t count = std::min(tile_rows, n - begin);
    read_tile(source, rows, begin, count, threads, values);
    parallel_for((cols + kColsPerTask - 1) / kColsPerTask, threads_for(count * cols * 8, threads),
                 [&](std::int64_t task) {
                   const std::int64_t first_col = task * kColsPerTask,
                                      last = std::min(cols, first_col + kColsPerTask);
                   for (std::int64_t i = 0; i < count; ++i) {
                     if (i + kRowsAhead < count)
                       fetch(values + (i + kRowsAhead) * cols + first_col, last - first_col);
                     shard.add(values + i * cols, static_cast<std::size_t>(first_col),
                               static_cast<std::size_t>(last));
                   }
                 });
    if (tick) tick(count * ranks_of(cluster));
    if ((begin + count) % shard_rows != 0 && begin + count < n) continue;
    if (cluster)
      shard.append_to(of_shards);
    else
      running.add(shard);
    shard.clear();
  }
  if (cluster)
    for (const std::string& bytes : cluster->gather(of_shards))
      for (std::size_t at = 0; at < bytes.size();) {
        shard.take_from(bytes, at);
        running.add(shard);
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

ColumnReach around_mean(const ColumnStats& stats) {
  ColumnReach columns{stats.mean, {}};
  const double n = static_cast<double>(stats.rows);
  for (std::size_t j = 0; j < stats.mean.size(); ++j) {
    // Shifts and shifted values are rounded to float32.
    const double size = std::max(std::fabs(static_cast<double>(stats.low[j])),
                                 std::fabs(static_cast<double>(stats.high[j])));
    columns.reach.push_back(1.001 * stats.std[j] * std::sqrt(n) + size * std::sqrt(n) * 2e-7);
  }
  return columns;
}

ColumnReach around_zero(const ColumnStats& stats) {
  ColumnReach columns{std::vector<double>(stats.mean.size()), {}};
  const double n = static_cast<double>(stats.rows);
  for (std::size_t j = 0; j < stats.mean.size(); ++j)
    columns.reach.push_back(1.001 * std::sqrt(n) * std::hypot(stats.std[j], stats.mean[j]));
  return columns;
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
