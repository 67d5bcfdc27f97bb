// The images a unit responds to most, and where in them (docs/methods.md §2.3).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "toolkit/math/upper_quantiles.hpp"
#include "toolkit/probe/unit_maps.hpp"

namespace linex {

struct ExemplarOptions {
  std::int64_t count = 15;  ///< images a unit
  double quantile = 0.99;   ///< of a unit's values over all places of all images: the mask's level
  QuantileMethod method = QuantileMethod::automatic;
};

/// The top images of K units, K × m × h × w floats whatever the number of images.
struct Exemplars {
  torch::Tensor rows;   ///< int64 (K, m): data rows, largest spatial maximum first; m ≤ count
  torch::Tensor peaks;  ///< float32 (K, m): the spatial maxima
  torch::Tensor maps;   ///< float32 (K, m, h, w): the unit's maps on those images
  torch::Tensor level;  ///< float32 (K)
};

/// One pass over the data. Kept in run.cache under everything it depends on.
Exemplars find_exemplars(UnitMaps& maps, const ExemplarOptions& options);

/// Where a unit responds in an image: its map at (height, width), bilinear with half-pixel centres
/// and zeros outside (grid_sample), above `level`. `map` is float32 (h, w); returns bool
/// (height, width).
torch::Tensor exemplar_mask(const torch::Tensor& map, float level, std::int64_t height,
                            std::int64_t width);

}  // namespace linex
