#include "toolkit/math/moments.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "linex/error.hpp"
#include "toolkit/base/huge_pages.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/math/kernels.hpp"
#include "toolkit/math/product_sum.hpp"
#include "toolkit/math/row_cuts.hpp"
#include "toolkit/math/sparse_columns.hpp"

namespace linex {

namespace {

constexpr std::int64_t kRowsPerTask = 64;
constexpr std::int64_t kUnitsPerTask = 128;

/// Tiles of one source, centred by a float32 shift, with sums of what is left.
class CentredTiles {
 public:
  /// Of at most `tile_rows` rows each, out of `total`.
  CentredTiles(const RowSource& source, const ColumnReach& reach, std::int64_t tile_rows,
               std::int64_t total)
      : source_(source),
        shift_(reach.shift.begin(), reach.shift.end()),
        values_(empty_on_huge_pages({tile_rows, source.cols}, at::kFloat)),
        sum_(shift_.size()),
        square_(shift_.size()) {
    for (const double value : reach.reach) {
      limit_.push_back(value * value);
      sum_grid_.push_back(power_of_two(value * std::sqrt(static_cast<double>(total)) * 1.001));
      square_grid_.push_back(power_of_two(value * value * 1.001));
    }
  }

  /// Centred rows[begin, begin + n), (n × cols); valid until the next call. `begin` is a multiple
  /// of kRowsPerTask.
  torch::Tensor read(const Rows& rows, std::int64_t begin, std::int64_t n, int threads) {
    const std::int64_t cols = source_.cols, tasks = (n + kRowsPerTask - 1) / kRowsPerTask;
    float* const values = values_.data_ptr<float>();
    read_tile(source_, rows, begin, n, threads, values);
    partial_.assign(static_cast<std::size_t>(2 * tasks * cols), 0.0);
    parallel_for(tasks, threads_for(n * cols, threads), [&](std::int64_t task) {
      double* const sum = partial_.data() + 2 * task * cols;
      double* const square = sum + cols;
      for (std::int64_t i = task * kRowsPerTask; i < std::min(n, (task + 1) * kRowsPerTask); ++i) {
        float* const row = values + i * cols;
#pragma omp simd
        for (std::int64_t j = 0; j < cols; ++j) {
          row[j] -= shift_[static_cast<std::size_t>(j)];
          const double d = static_cast<double>(row[j]);
          sum[j] += d;
          square[j] += d * d;
        }
      }
    });
    for (std::int64_t task = 0; task < tasks; ++task)
      for (std::int64_t j = 0; j < cols; ++j) {
        const std::size_t column = static_cast<std::size_t>(j);
        sum_[column] += on_grid(partial_[2 * task * cols + j], sum_grid_[column]);
        square_[column] += on_grid(partial_[(2 * task + 1) * cols + j], square_grid_[column]);
      }
    return values_.narrow(0, 0, n);
  }

  /// After the last tile: sums become those over all ranks, and are held against the reach.
  void finish(const Cluster* cluster) {
    if (cluster) {
      cluster->sum(sum_.data(), static_cast<std::int64_t>(sum_.size()));
      cluster->sum(square_.data(), static_cast<std::int64_t>(square_.size()));
    }
    for (std::size_t j = 0; j < square_.size(); ++j)
      if (square_[j] > limit_[j] * 1.001)
        throw std::logic_error(source_.name + ": " +
                               source_.column_name(static_cast<std::int64_t>(j)) +
                               " lies further from its shift than was said");
  }
  /// No tile follows.
  void drop_values() { values_ = torch::Tensor(); }

  /// Mean of the centred values; what the shift left over.
  std::vector<double> rest(double n) const {
    std::vector<double> rest(sum_);
    for (double& value : rest) value /= n;
    return rest;
  }
  std::vector<double> mean(double n) const {
    std::vector<double> mean = rest(n);
    for (std::size_t j = 0; j < mean.size(); ++j) mean[j] += static_cast<double>(shift_[j]);
    return mean;
  }
  std::vector<double> variance(double n) const {
    std::vector<double> variance = rest(n);
    for (std::size_t j = 0; j < variance.size(); ++j)
      variance[j] = std::max(0.0, square_[j] / n - variance[j] * variance[j]);
    return variance;
  }

 private:
  const RowSource& source_;
  std::vector<float> shift_;
  torch::Tensor values_;
  std::vector<double> sum_, square_, partial_;
  std::vector<double> limit_, sum_grid_, square_grid_;
};

/// Rows of a tile, which must hold one product at least.
std::int64_t tile_rows(const RowCuts& cuts, const MomentOptions& options, std::int64_t cols) {
  return cuts.tile(std::min(options.tile_rows,
                            options.memory_bytes / 4 / (4 * std::max<std::int64_t>(1, cols))));
}

/// This rank's rows.
std::vector<RowRange> share_of(const RowCuts& cuts, const Cluster* cluster) {
  return cuts.share(cluster ? cluster->rank() : 0, ranks_of(cluster));
}

/// The rows of `ranges` by tiles, in their order: work(begin, rows, depth of a product).
template <class Work>
void by_tiles(const std::vector<RowRange>& ranges, std::int64_t tile, const Work& work) {
  for (const RowRange& range : ranges)
    for (std::int64_t begin = range.begin; begin < range.end; begin += tile)
      work(begin, std::min(tile, range.end - begin), range.depth);
}

/// Rows of the largest tile.
std::int64_t room_for(const std::vector<RowRange>& ranges, std::int64_t tile) {
  std::int64_t most = 1;
  by_tiles(ranges, tile,
           [&](std::int64_t, std::int64_t n, std::int64_t) { most = std::max(most, n); });
  return most;
}

/// Rows of a tile that are multiplied in one way.
struct RowRun {
  std::int64_t begin = 0, rows = 0;
  bool by_value = false;
  SparseColumns values;  ///< where by_value
};
/// Each `depth` rows are decided upon by themselves, so that tiles do not matter.
std::vector<RowRun> runs_of(const torch::Tensor& tile, std::int64_t depth,
                            const MomentOptions& options) {
  const float* const values = tile.data_ptr<float>();
  const std::int64_t total = tile.size(0), cols = tile.size(1);
  std::vector<RowRun> runs;
  for (std::int64_t begin = 0; begin < total; begin += depth) {
    const std::int64_t rows = std::min(depth, total - begin);
    const bool by_value = options.device == "cpu" &&
                          mostly_zeros(values + begin * cols, rows * cols, options.threads);
    if (runs.empty() || runs.back().by_value != by_value) runs.push_back({begin, 0, by_value, {}});
    runs.back().rows += rows;
  }
  for (RowRun& run : runs)
    if (run.by_value)
      run.values = sparse_columns(values + run.begin * cols, run.rows, cols, options.threads);
  return runs;
}

void check_rows(const Rows& rows) {
  if (rows.empty())
    throw input_error("a split has no rows; give each of train and val at least one");
}

/// Threads that may multiply blocks at once: a GPU takes them one after the other.
int threads_on(const MomentOptions& options, std::int64_t operations) {
  return options.device == "cpu" ? threads_for(operations, options.threads) : 1;
}

}  // namespace

Moments moments(const MomentInput& input, const Rows& rows, const MomentOptions& options,
                const Tick& tick) {
  check_rows(rows);
  const std::int64_t concepts = input.presence.cols, units = input.activations.cols;
  const std::int64_t total = static_cast<std::int64_t>(rows.size());
  const RowCuts cuts(total, concepts + units);
  const std::int64_t tile = tile_rows(cuts, options, concepts + units);
  const std::vector<RowRange> share = share_of(cuts, options.cluster);
  const std::int64_t room = room_for(share, tile);
  CentredTiles presence(input.presence, input.presence_reach, room, total);
  CentredTiles activations(input.activations, input.activation_reach, room, total);
  ProductSum gram(options.gram ? concepts : 0, concepts, true, options.block, cuts.depth());
  ProductSum cross(units, concepts, false, options.block, cuts.depth());
  gram.set_grid({input.presence_reach.reach, input.presence_reach.reach});
  cross.set_grid({input.activation_reach.reach, input.presence_reach.reach});

  by_tiles(share, tile, [&](std::int64_t begin, std::int64_t n, std::int64_t depth) {
    const torch::Tensor p = presence.read(rows, begin, n, options.threads).to(options.device);
    torch::Tensor a = activations.read(rows, begin, n, options.threads);
    const std::vector<RowRun> runs = runs_of(a, depth, options);
    a = a.to(options.device);
    parallel_for(gram.blocks() + cross.blocks(),
                 threads_on(options, n * concepts * (units + concepts)), [&](std::int64_t block) {
                   if (block < gram.blocks()) return gram.add(block, p, p, depth);
                   block -= gram.blocks();
                   for (const RowRun& run : runs) {
                     const torch::Tensor part = p.narrow(0, run.begin, run.rows);
                     if (run.by_value)
                       cross.add(block, run.values, part);
                     else
                       cross.add(block, a.narrow(0, run.begin, run.rows), part, depth);
                   }
                 });
    if (tick) tick(n * ranks_of(options.cluster));
  });
  presence.finish(options.cluster);
  activations.finish(options.cluster);
  if (options.cluster) {
    gram.sum_over(*options.cluster);
    cross.sum_over(*options.cluster);
  }

  presence.drop_values();
  activations.drop_values();
  const double n = static_cast<double>(total);
  const std::vector<double> p_rest = presence.rest(n), a_rest = activations.rest(n);
  Moments result;
  result.rows = total;
  result.concept_mean = presence.mean(n);
  result.concept_variance = presence.variance(n);
  result.unit_mean = activations.mean(n);
  result.unit_variance = activations.variance(n);
  result.cross = empty_on_huge_pages({units, concepts}, at::kDouble);
  cross.finish(options.threads, result.cross.data_ptr<double>(),
               [&](std::int64_t k, std::int64_t j, double sum) {
                 return sum / n -
                        a_rest[static_cast<std::size_t>(k)] * p_rest[static_cast<std::size_t>(j)];
               });
  if (!options.gram) return result;
  result.gram = empty_on_huge_pages({concepts, concepts}, at::kFloat);
  gram.finish(options.threads, result.gram.data_ptr<float>(),
              [&](std::int64_t i, std::int64_t j, double sum) {
                // The diagonal comes from the float64 sums: it standardises everything else.
                const std::size_t row = static_cast<std::size_t>(i);
                if (i == j) return result.concept_variance[row];
                return sum / n - p_rest[row] * p_rest[static_cast<std::size_t>(j)];
              });
  return result;
}

Moments sparse_moments(std::int64_t concepts, const OnesOf& ones, const RowSource& activations,
                       const ColumnReach& reach, const Rows& rows, const MomentOptions& options,
                       const Tick& tick) {
  check_rows(rows);
  const std::int64_t units = activations.cols, total = static_cast<std::int64_t>(rows.size());
  const RowCuts cuts(total, units);
  const std::int64_t tile = tile_rows(cuts, options, units);
  const std::vector<RowRange> share = share_of(cuts, options.cluster);
  const std::int64_t room = room_for(share, tile);
  CentredTiles tiles(activations, reach, room, total);
  std::vector<double> grid;  // of a concept's sums of activations
  for (const double value : reach.reach)
    grid.push_back(power_of_two(value * std::sqrt(static_cast<double>(total)) * 1.001));
  const std::size_t width = static_cast<std::size_t>(concepts);
  std::vector<std::int64_t> count(width), pairs(options.gram ? width * width : 0);
  std::vector<double> of_concept(width * static_cast<std::size_t>(units));  // Σ a over its rows
  std::vector<std::vector<std::int64_t>> tile_ones;

  by_tiles(share, tile, [&](std::int64_t begin, std::int64_t n, std::int64_t) {
    const torch::Tensor a = tiles.read(rows, begin, n, options.threads);
    tile_ones.resize(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) {
      auto& row_ones = tile_ones[static_cast<std::size_t>(i)];
      ones(rows[static_cast<std::size_t>(begin + i)], row_ones);
      for (const std::int64_t j : row_ones) {
        ++count[static_cast<std::size_t>(j)];
        if (!options.gram) continue;
        for (const std::int64_t other : row_ones) ++pairs[j * concepts + other];
      }
    }
    const float* const values = a.data_ptr<float>();
    parallel_for((units + kUnitsPerTask - 1) / kUnitsPerTask, options.threads, [&](std::int64_t t) {
      const std::int64_t first = t * kUnitsPerTask, last = std::min(units, first + kUnitsPerTask);
      for (std::int64_t i = 0; i < n; ++i)
        for (const std::int64_t j : tile_ones[static_cast<std::size_t>(i)])
          add_on_grid(values + i * units + first, last - first, 1.0, grid.data() + first,
                      of_concept.data() + j * units + first);
    });
    if (tick) tick(n * ranks_of(options.cluster));
  });
  tiles.finish(options.cluster);
  if (options.cluster) {
    options.cluster->sum(count.data(), concepts);
    options.cluster->sum(pairs.data(), static_cast<std::int64_t>(pairs.size()));
    options.cluster->sum(of_concept.data(), static_cast<std::int64_t>(of_concept.size()));
  }

  const double n = static_cast<double>(total);
  Moments result;
  result.rows = total;
  result.unit_mean = tiles.mean(n);
  result.unit_variance = tiles.variance(n);
  for (const std::int64_t c : count) {
    const double mean = static_cast<double>(c) / n;
    result.concept_mean.push_back(mean);
    result.concept_variance.push_back(mean * (1 - mean));
  }
  result.cross = empty_on_huge_pages({units, concepts}, at::kDouble);
  double* const cross = result.cross.data_ptr<double>();
  for (std::int64_t k = 0; k < units; ++k)
    for (std::int64_t j = 0; j < concepts; ++j)
      cross[k * concepts + j] =
          of_concept[j * units + k] / n - result.concept_mean[j] * result.unit_mean[k];
  if (!options.gram) return result;
  result.gram = empty_on_huge_pages({concepts, concepts}, at::kFloat);
  float* const gram = result.gram.data_ptr<float>();
  for (std::int64_t i = 0; i < concepts * concepts; ++i)
    gram[i] =
        static_cast<float>(static_cast<double>(pairs[i]) / n -
                           result.concept_mean[i / concepts] * result.concept_mean[i % concepts]);
  return result;
}

torch::Tensor gram_rows(const RowSource& presence, const ColumnReach& reach,
                        const std::vector<std::int64_t>& wanted, const Rows& rows,
                        const MomentOptions& options, const Tick& tick) {
  check_rows(rows);
  const std::int64_t concepts = presence.cols, total = static_cast<std::int64_t>(rows.size());
  const std::int64_t count = static_cast<std::int64_t>(wanted.size());
  // Not of how many are wanted: rows that are fetched together must not move each other.
  const RowCuts cuts(total, concepts);
  const std::int64_t tile = tile_rows(cuts, options, concepts);
  const std::vector<RowRange> share = share_of(cuts, options.cluster);
  const std::int64_t room = room_for(share, tile);
  CentredTiles tiles(presence, reach, room, total);
  ProductSum products(count, concepts, false, options.block, cuts.depth());
  ProductSum::Grid grid{{}, reach.reach};
  for (const std::int64_t j : wanted) grid.left.push_back(reach.reach[static_cast<std::size_t>(j)]);
  products.set_grid(grid);
  const torch::Tensor index = torch::tensor(wanted).to(options.device);
  by_tiles(share, tile, [&](std::int64_t begin, std::int64_t n, std::int64_t depth) {
    const torch::Tensor p = tiles.read(rows, begin, n, options.threads).to(options.device);
    const torch::Tensor left = p.index_select(1, index);
    parallel_for(products.blocks(), threads_on(options, n * concepts * count),
                 [&](std::int64_t block) { products.add(block, left, p, depth); });
    if (tick) tick(n * ranks_of(options.cluster));
  });
  tiles.finish(options.cluster);
  if (options.cluster) products.sum_over(*options.cluster);
  const double n = static_cast<double>(total);
  const std::vector<double> rest = tiles.rest(n), variance = tiles.variance(n);
  torch::Tensor result = empty_on_huge_pages({count, concepts}, at::kFloat);
  products.finish(options.threads, result.data_ptr<float>(),
                  [&](std::int64_t i, std::int64_t j, double sum) {
                    const std::size_t row = static_cast<std::size_t>(wanted[i]);
                    if (static_cast<std::int64_t>(row) == j) return variance[row];
                    return sum / n - rest[row] * rest[static_cast<std::size_t>(j)];
                  });
  return result;
}

}  // namespace linex
