// Network Dissection: how well a unit's mask fits the pixels of each label (docs/methods.md §2.2).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "linex/pixel_labels.hpp"
#include "toolkit/math/upper_quantiles.hpp"
#include "toolkit/probe/unit_maps.hpp"

namespace linex {

struct DissectionOptions {
  double quantile = 0.995;  ///< of a unit's values over all places of all images
  QuantileMethod method = QuantileMethod::automatic;
};

/// Pixel counts of K units and L labels. Pixels are those of the label maps that the network saw.
struct PixelTallies {
  torch::Tensor threshold;   ///< float32 (K)
  std::vector<char> varies;  ///< (K): whether the unit takes more than one value
  torch::Tensor truth;       ///< int64 (L): pixels with the label
  torch::Tensor intersect;   ///< int64 (K, L): of those, inside the unit's mask
  torch::Tensor activation;  ///< int64 (K, categories): mask pixels in images where the mask
                             ///< touches a label of the category
};

/// Categories in order of their first label.
std::vector<std::string> categories_of(const std::vector<PixelLabel>& labels);

/// Two passes over the data: thresholds, then masks. A mask is where the unit's map, upsampled to
/// the label map (bilinear, half-pixel centres, edges repeated), is above the unit's threshold.
PixelTallies tally_pixels(UnitMaps& maps, const PixelLabels& labels,
                          const DissectionOptions& options);

/// A unit's best label of one category.
struct CategoryMatch {
  std::int64_t label = -1;  ///< -1 where the category has none
  std::int64_t truth = 0, activation = 0, intersect = 0;
  double iou = 0;
};
/// What a row of tally.csv says.
struct UnitMatch {
  std::vector<CategoryMatch> categories;
  std::int64_t best = -1;  ///< category of the largest IoU, the first of equals; -1: a dead unit
  double score() const { return best < 0 ? 0 : categories[static_cast<std::size_t>(best)].iou; }
};
/// IoU = I / (A + T − I + 1e-10) and the best label of each category.
std::vector<UnitMatch> match_units(const PixelTallies& tallies,
                                   const std::vector<PixelLabel>& labels);

/// tally.csv in the published columns: 1-based units, the largest score first. Atomic.
void write_tally(const std::filesystem::path& path, const std::vector<std::int64_t>& units,
                 const std::vector<UnitMatch>& matches, const std::vector<PixelLabel>& labels);

}  // namespace linex
