// Which images a unit's card shows, and where in them the unit is active.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/report/report.hpp"

namespace linex {

/// A range of ranks by activation, 0-based [begin, end), and the rows chosen from it.
struct RankBand {
  std::int64_t begin = 0, end = 0;
  float low = 0, high = 0;  ///< activations of the whole band
  Rows rows;                ///< by descending activation
};

/// The published bands (reference.md §1.14): ranks [0, 5) whole, then four rows drawn from each of
/// [5, 50), [50, 500), [500, 5000), cut to the `activation` (N) there are.
std::vector<RankBand> choose_bands(const torch::Tensor& activation, std::uint64_t seed,
                                   std::int64_t unit);

/// A unit's map in one image as the page draws it: min–max to 0…255, at most `side` on each side.
struct SmallMap {
  std::int64_t height = 0, width = 0;
  std::string bytes;
};

/// Map (H, W) of `unit` from a layer's output for one image, (C, H, W) or (T, D) with T − 1 or T a
/// square (the class token is dropped, as published); empty where there is none.
SmallMap small_map(const torch::Tensor& output, std::int64_t unit, std::int64_t side);

/// An image of the data set, small.
struct Thumbnail {
  std::int64_t row = 0;
  std::string jpeg;  ///< bytes of a file
};

/// Each row as the network sees it, its longer side `thumbnail` at most.
std::vector<Thumbnail> make_thumbnails(const Rows& rows, const DataSet& data,
                                       const Preprocess& preprocess, std::int64_t thumbnail,
                                       const PluginContext& context);

/// maps[i] is the map of unit wanted[i].second in image wanted[i].first. Runs the network once over
/// the distinct images.
std::vector<SmallMap> collect_maps(const std::vector<std::pair<std::int64_t, std::int64_t>>& wanted,
                                   const std::string& layer, TargetModel& model,
                                   const std::shared_ptr<const DataSet>& data, std::int64_t side,
                                   const PluginContext& context);

}  // namespace linex
