#include "toolkit/math/moments.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "linex/error.hpp"
#include "toolkit/base/huge_pages.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/product_sum.hpp"

namespace linex {

namespace {

constexpr std::int64_t kRowsPerTask = 64;
constexpr std::int64_t kUnitsPerTask = 128;

/// Tiles of one source, centred by a float32 shift, with sums of what is left.
class CentredTiles {
 public:
  CentredTiles(const RowSource& source, const std::vector<double>& shift, std::int64_t tile_rows)
      : source_(source),
        shift_(shift.begin(), shift.end()),
        values_(empty_on_huge_pages({tile_rows, source.cols}, at::kFloat)),
        sum_(shift.size()),
        square_(shift.size()) {}

  /// Centred rows[begin, begin + n), (n × cols); valid until the next call.
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
        sum_[static_cast<std::size_t>(j)] += partial_[2 * task * cols + j];
        square_[static_cast<std::size_t>(j)] += partial_[(2 * task + 1) * cols + j];
      }
    return values_.narrow(0, 0, n);
  }

  /// After the last tile.
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
};

std::int64_t rows_per_tile(const MomentOptions& options, std::int64_t cols, std::size_t rows) {
  const std::int64_t affordable = options.memory_bytes / 4 / (4 * std::max<std::int64_t>(1, cols));
  return std::max<std::int64_t>(1,
                                std::min({options.tile_rows, std::max<std::int64_t>(affordable, 64),
                                          static_cast<std::int64_t>(rows)}));
}

/// Rows a float32 product may span. Rounding of a product grows with √depth and averages out over
/// n/depth of them; a small problem can afford shallow ones.
std::int64_t depth_for(std::int64_t rows) {
  return std::max<std::int64_t>(32, std::min<std::int64_t>(4096, rows / 16));
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
  const std::int64_t tile_rows = rows_per_tile(options, concepts + units, rows.size());
  const std::int64_t depth = depth_for(total);
  CentredTiles presence(input.presence, input.presence_shift, tile_rows);
  CentredTiles activations(input.activations, input.activation_shift, tile_rows);
  ProductSum gram(options.gram ? concepts : 0, concepts, true, options.block, depth);
  ProductSum cross(units, concepts, false, options.block, depth);

  for (std::int64_t begin = 0; begin < total; begin += tile_rows) {
    const std::int64_t n = std::min(tile_rows, total - begin);
    const torch::Tensor p = presence.read(rows, begin, n, options.threads).to(options.device);
    torch::Tensor a = activations.read(rows, begin, n, options.threads);
    const bool by_value =
        options.device == "cpu" && mostly_zeros(a.data_ptr<float>(), n * units, options.threads);
    SparseColumns sparse;
    if (by_value)
      sparse = sparse_columns(a.data_ptr<float>(), n, units, options.threads);
    else
      a = a.to(options.device);
    parallel_for(gram.blocks() + cross.blocks(),
                 threads_on(options, n * concepts * (units + concepts)), [&](std::int64_t block) {
                   if (block < gram.blocks()) return gram.add(block, p, p);
                   if (by_value) return cross.add(block - gram.blocks(), sparse, p);
                   cross.add(block - gram.blocks(), a, p);
                 });
    if (tick) tick(n);
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
                       const Rows& rows, const MomentOptions& options, const Tick& tick) {
  check_rows(rows);
  const std::int64_t units = activations.cols, total = static_cast<std::int64_t>(rows.size());
  const std::int64_t tile_rows = rows_per_tile(options, units, rows.size());
  const std::vector<double> no_shift(static_cast<std::size_t>(units), 0.0);
  CentredTiles tiles(activations, no_shift, tile_rows);
  const std::size_t width = static_cast<std::size_t>(concepts);
  std::vector<std::int64_t> count(width), pairs(options.gram ? width * width : 0);
  std::vector<double> of_concept(width * static_cast<std::size_t>(units));  // Σ a over its rows
  std::vector<std::vector<std::int64_t>> tile_ones;

  for (std::int64_t begin = 0; begin < total; begin += tile_rows) {
    const std::int64_t n = std::min(tile_rows, total - begin);
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
        for (const std::int64_t j : tile_ones[static_cast<std::size_t>(i)]) {
          double* const sum = of_concept.data() + j * units;
          const float* const row = values + i * units;
          for (std::int64_t k = first; k < last; ++k) sum[k] += static_cast<double>(row[k]);
        }
    });
    if (tick) tick(n);
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

torch::Tensor gram_rows(const RowSource& presence, const std::vector<double>& shift,
                        const std::vector<std::int64_t>& wanted, const Rows& rows,
                        const MomentOptions& options, const Tick& tick) {
  check_rows(rows);
  const std::int64_t concepts = presence.cols, total = static_cast<std::int64_t>(rows.size());
  const std::int64_t count = static_cast<std::int64_t>(wanted.size());
  const std::int64_t tile_rows = rows_per_tile(options, concepts + count, rows.size());
  const std::int64_t depth = depth_for(total);
  CentredTiles tiles(presence, shift, tile_rows);
  ProductSum products(count, concepts, false, options.block, depth);
  const torch::Tensor index = torch::tensor(wanted).to(options.device);
  for (std::int64_t begin = 0; begin < total; begin += tile_rows) {
    const std::int64_t n = std::min(tile_rows, total - begin);
    const torch::Tensor p = tiles.read(rows, begin, n, options.threads).to(options.device);
    const torch::Tensor left = p.index_select(1, index);
    parallel_for(products.blocks(), threads_on(options, n * concepts * count),
                 [&](std::int64_t block) { products.add(block, left, p); });
    if (tick) tick(n);
  }
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
