#include "similarity.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "linex/error.hpp"
#include "similarity_parts.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {

namespace clip_dissect {

namespace {
constexpr std::int64_t kTileRows = 1024;
}

std::vector<char> varying_units(const SimilarityInput& input, int threads) {
  const std::int64_t units = input.activations.size(1);
  const auto source = activation_rows(input.activations, all_columns(units));
  const std::int64_t n = static_cast<std::int64_t>(input.rows.size());
  std::vector<char> varies(static_cast<std::size_t>(units), 0);
  std::vector<float> first, tile(static_cast<std::size_t>(std::min(kTileRows, n) * units));
  for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
    const std::int64_t count = std::min(kTileRows, n - begin);
    read_tile(source, input.rows, begin, count, threads, tile.data());
    if (first.empty()) first.assign(tile.begin(), tile.begin() + units);
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t k = 0; k < units; ++k)
        varies[static_cast<std::size_t>(k)] |= tile[i * units + k] != first[k];
  }
  return varies;
}

TopRows top_images(const SimilarityInput& input, std::int64_t count, int threads) {
  const std::int64_t n = static_cast<std::int64_t>(input.rows.size());
  const std::int64_t units = input.activations.size(1);
  const auto source = activation_rows(input.activations, all_columns(units));
  TopRows top(units, count);
  std::vector<std::int64_t> places(input.rows.size());
  std::iota(places.begin(), places.end(), std::int64_t{0});
  for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
    auto tile = torch::empty({std::min(kTileRows, n - begin), units});
    read_tile(source, input.rows, begin, tile.size(0), threads, tile.data_ptr<float>());
    top.add(tile, places.data() + begin, threads);
  }
  return top;
}

std::int64_t block_width(std::int64_t concepts, std::int64_t bytes_per_concept,
                         std::int64_t memory_bytes) {
  return std::clamp<std::int64_t>(memory_bytes / std::max<std::int64_t>(bytes_per_concept, 1), 1,
                                  concepts);
}

}  // namespace clip_dissect

Similarity similarity_from_string(const std::string& name) {
  if (name == "soft_wpmi") return Similarity::soft_wpmi;
  if (name == "wpmi") return Similarity::wpmi;
  if (name == "rank_reorder") return Similarity::rank_reorder;
  if (name == "cos_similarity") return Similarity::cos_similarity;
  if (name == "cos_similarity_cubed") return Similarity::cos_similarity_cubed;
  throw usage_error("solver.similarity: no function '" + name + "'");
}

void concept_similarity(const SimilarityInput& input, const SimilarityOptions& options,
                        const SimilarityBlock& emit, const SimilarityTick& tick) {
  if (input.rows.empty()) throw input_error("clip_dissect: there are no images");
  if (input.presence.cols() == 0) throw input_error("clip_dissect: there are no concepts");
  if (input.activations.dim() != 2 || input.activations.size(0) != input.presence.rows())
    throw input_error("clip_dissect: activations have " +
                      std::to_string(input.activations.size(0)) + " rows, presence " +
                      std::to_string(input.presence.rows()));
  switch (options.function) {
    case Similarity::soft_wpmi:
    case Similarity::wpmi:
      return clip_dissect::weighted_pmi(input, options, emit, tick);
    case Similarity::rank_reorder:
      return clip_dissect::rank_reorder(input, options, emit, tick);
    case Similarity::cos_similarity:
    case Similarity::cos_similarity_cubed:
      return clip_dissect::cosines(input, options, emit, tick);
  }
  throw std::logic_error("an unknown similarity");
}

}  // namespace linex
