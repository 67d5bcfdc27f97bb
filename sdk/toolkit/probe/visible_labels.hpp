// Where unit maps lie on the labelled pixels of an image, and from which value on a unit is on
// (docs/methods.md §2.2).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "linex/pixel_labels.hpp"
#include "toolkit/math/upper_quantiles.hpp"
#include "toolkit/probe/map_upsampler.hpp"
#include "toolkit/probe/unit_maps.hpp"

namespace linex {

struct MapThresholds {
  torch::Tensor value;       ///< float32 (K): the quantile of each unit over all places
  std::vector<char> varies;  ///< (K): whether the unit takes more than one value
};
/// One pass over the maps. A quarter of run.memory bounds what is kept.
MapThresholds map_thresholds(UnitMaps& maps, double quantile, QuantileMethod method);

/// Where the unit maps of an image lie on its label maps.
struct LabelFrame {
  std::int64_t top, left, height, width;  ///< of the network's input, in label-map pixels
};

/// The visible part of an image's labels: per map the labels in the frame, -1 outside the image.
struct VisibleLabels {
  LabelFrame frame;
  std::vector<std::vector<std::int32_t>> maps;  ///< height × width of the frame each
  std::vector<std::int64_t> whole;
  std::int64_t pixels = 0;   ///< of the frame that lie in the image
  std::vector<char> inside;  ///< empty where all do
};
/// What the network sees of an image's labels.
VisibleLabels visible_labels(const LabelMaps& labels, const Preprocess& preprocess);

/// Upsamplers by frame size: most data sets have one or two. [one thread]
class FrameUpsamplers {
 public:
  FrameUpsamplers(std::int64_t height, std::int64_t width) : height_(height), width_(width) {}
  const MapUpsampler& get(const LabelFrame& frame) {
    auto& found = made_[{frame.height, frame.width}];
    if (!found) found = std::make_unique<MapUpsampler>(height_, width_, frame.height, frame.width);
    return *found;
  }

 private:
  std::int64_t height_, width_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<MapUpsampler>> made_;
};

}  // namespace linex
