// Concepts and units as sets of places: images, or the pixels of all images (docs/methods.md §2.4).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "linex/labeler.hpp"
#include "linex/pixel_labels.hpp"
#include "toolkit/math/place_set.hpp"
#include "toolkit/probe/unit_maps.hpp"

namespace linex {

struct PlaceMasks {
  std::int64_t places = 0;
  std::vector<PlaceSet> concepts;
  std::vector<PlaceSet> units;  ///< of the asked units; empty where one does not vary
  std::vector<char> varies;     ///< of them
};

/// Places are `rows`, in order: concepts where their presence is `threshold` or more, units where
/// they exceed their quantile of these rows.
PlaceMasks image_masks(const Presence& presence, const torch::Tensor& activations,
                       const std::vector<std::int64_t>& units, const Rows& rows, double quantile,
                       double threshold, int threads);

/// Places are the pixels of the label maps that the network sees, of all images; units are where
/// their map, enlarged to the label map, exceeds its quantile over all places of all images. Throws
/// Error(input) where the sets need more than half of run.memory.
PlaceMasks pixel_masks(UnitMaps& maps, const PixelLabels& labels, double quantile);

}  // namespace linex
