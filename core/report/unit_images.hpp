// Which images a unit's card shows, and where in them the unit is active.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/report/report.hpp"

namespace linex {

/// A range of ranks by activation, 0-based [begin, end), and the rows chosen from it.
struct RankBand {
  std::int64_t begin = 0, end = 0;
  float low = 0, high = 0;  ///< activations of the whole band
  Rows rows;                ///< by descending activation
};

/// The published bands (docs/methods.md §1.14): ranks [0, 5) whole, then four rows drawn from each
/// of [5, 50), [50, 500), [500, 5000), cut to the `activation` (N) there are.
std::vector<RankBand> choose_bands(const torch::Tensor& activation, std::uint64_t seed,
                                   std::int64_t unit);

/// A unit's map in one image as the page draws it: min–max to 0…255, at most `side` on each side.
struct SmallMap {
  std::int64_t height = 0, width = 0;
  std::string bytes;
};

/// Of a map, float32 (h, w); empty where it is flat.
SmallMap small_map(const torch::Tensor& map, std::int64_t side);

/// An image of the data set, small.
struct Thumbnail {
  std::int64_t row = 0;
  std::string jpeg;  ///< bytes of a file
};

/// Each row as the network sees it, its longer side `thumbnail` at most.
std::vector<Thumbnail> make_thumbnails(const Rows& rows, const DataSet& data,
                                       const Preprocess& preprocess, std::int64_t thumbnail,
                                       const PluginContext& context);

}  // namespace linex
