// Cosine and cubed cosine: products over all images, float32 within a tile, float64 across tiles.
#include <algorithm>
#include <cmath>

#include "similarity_parts.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/product_sum.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex::clip_dissect {

namespace {

constexpr std::int64_t kBlock = 512, kDepth = 1024;
constexpr std::int64_t kColsPerTask = 64;
constexpr std::int64_t kEmitCols = 1024;

/// (x − mean)³ in place; sums of squares of what comes out are added to `square`.
void cube(float* tile, std::int64_t rows, std::int64_t cols, const std::vector<double>* mean,
          int threads, std::vector<double>& square) {
  parallel_for((cols + kColsPerTask - 1) / kColsPerTask, threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(cols, (task + 1) * kColsPerTask);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = task * kColsPerTask; j < end; ++j) {
        float& value = tile[i * cols + j];
        if (mean) {
          const double centred = static_cast<double>(value) - (*mean)[static_cast<std::size_t>(j)];
          value = static_cast<float>(centred * centred * centred);
        }
        square[static_cast<std::size_t>(j)] +=
            static_cast<double>(value) * static_cast<double>(value);
      }
  });
}

std::vector<double> column_means(const RowSource& source, const Rows& rows, std::int64_t tile_rows,
                                 int threads) {
  const std::int64_t n = static_cast<std::int64_t>(rows.size()), cols = source.cols;
  std::vector<float> tile(static_cast<std::size_t>(std::min(tile_rows, n) * cols));
  std::vector<double> mean(static_cast<std::size_t>(cols), 0.0);
  for (std::int64_t begin = 0; begin < n; begin += tile_rows) {
    const std::int64_t count = std::min(tile_rows, n - begin);
    read_tile(source, rows, begin, count, threads, tile.data());
    parallel_for((cols + kColsPerTask - 1) / kColsPerTask, threads, [&](std::int64_t task) {
      const std::int64_t end = std::min(cols, (task + 1) * kColsPerTask);
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t j = task * kColsPerTask; j < end; ++j)
          mean[static_cast<std::size_t>(j)] += static_cast<double>(tile[i * cols + j]);
    });
  }
  for (double& value : mean) value /= static_cast<double>(n);
  return mean;
}

}  // namespace

void cosines(const SimilarityInput& input, const SimilarityOptions& options,
             const SimilarityBlock& emit, const SimilarityTick& tick) {
  const bool cubed = options.function == Similarity::cos_similarity_cubed;
  const std::int64_t units = input.activations.size(1), concepts = input.presence.cols();
  const std::int64_t n = static_cast<std::int64_t>(input.rows.size());
  const auto varies = varying_units(input, options.threads);
  const RowSource activations = activation_rows(input.activations, all_columns(units));
  // Sums take half of the memory, the two tiles a quarter.
  const std::int64_t width = block_width(concepts, 12 * units, options.memory_bytes / 2);
  const std::int64_t tile_rows =
      std::clamp<std::int64_t>(options.memory_bytes / 4 / (4 * (width + units)), 64, 4096);
  std::vector<double> unit_mean;
  if (cubed) unit_mean = column_means(activations, input.rows, tile_rows, options.threads);

  for (std::int64_t first = 0; first < concepts; first += width) {
    std::vector<std::int64_t> cols(static_cast<std::size_t>(std::min(width, concepts - first)));
    for (std::size_t j = 0; j < cols.size(); ++j) cols[j] = first + static_cast<std::int64_t>(j);
    const std::int64_t count = static_cast<std::int64_t>(cols.size());
    const RowSource presence = presence_rows(input.presence, cols);
    std::vector<double> concept_mean;
    if (cubed) concept_mean = column_means(presence, input.rows, tile_rows, options.threads);

    ProductSum product(units, count, false, kBlock, kDepth);
    std::vector<double> unit_square(static_cast<std::size_t>(units), 0.0);
    std::vector<double> concept_square(cols.size(), 0.0);
    for (std::int64_t begin = 0; begin < n; begin += tile_rows) {
      const std::int64_t rows = std::min(tile_rows, n - begin);
      auto a = torch::empty({rows, units}), p = torch::empty({rows, count});
      read_tile(activations, input.rows, begin, rows, options.threads, a.data_ptr<float>());
      read_tile(presence, input.rows, begin, rows, options.threads, p.data_ptr<float>());
      cube(a.data_ptr<float>(), rows, units, cubed ? &unit_mean : nullptr, options.threads,
           unit_square);
      cube(p.data_ptr<float>(), rows, count, cubed ? &concept_mean : nullptr, options.threads,
           concept_square);
      parallel_for(product.blocks(), options.threads,
                   [&](std::int64_t block) { product.add(block, a, p); });
      if (tick)
        tick((static_cast<double>(first) + static_cast<double>(count) *
                                               static_cast<double>(begin + rows) /
                                               static_cast<double>(n)) /
             static_cast<double>(concepts));
    }

    const auto norm = [cubed](double square) {
      return cubed ? std::max(std::sqrt(square), 1e-3) : std::sqrt(square);
    };
    auto scores = torch::empty({units, count});
    product.finish(options.threads, scores.data_ptr<float>(),
                   [&](std::int64_t k, std::int64_t j, double sum) {
                     if (!varies[static_cast<std::size_t>(k)]) return static_cast<double>(NAN);
                     return sum / norm(unit_square[static_cast<std::size_t>(k)]) /
                            norm(concept_square[static_cast<std::size_t>(j)]);
                   });
    for (std::int64_t begin = 0; begin < count; begin += kEmitCols)
      emit(first + begin, scores.narrow(1, begin, std::min(kEmitCols, count - begin)).contiguous());
  }
}

}  // namespace linex::clip_dissect
