// Pixel labels: an ability a labeler may have beside ConceptLabeler.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/export.hpp"

namespace linex {

/// A label of pixels. Label j is concept j of the labeler.
struct PixelLabel {
  std::string name;      ///< as the data has it ("black-c"); the concept's name may be plainer
  std::string category;  ///< labels compete within their category ("object", "scene", ...)
};

/// The labels of one image. A pixel may carry several: one a map.
struct LabelMaps {
  std::int64_t image_height = 0, image_width = 0;  ///< of the image the maps cover, in pixels
  std::int64_t height = 0, width = 0;              ///< of the maps; the whole image at another size
  std::vector<torch::Tensor> maps;                 ///< int32 (height, width): label or -1
  std::vector<std::int64_t> whole;                 ///< labels of the image as a whole
};

/// An optional ability of a ConceptLabeler: ability<PixelLabels>(labeler). Call after attach().
class LINEX_API PixelLabels {
 public:
  static constexpr char kAbility[] = "linex.pixel_labels/1";
  virtual ~PixelLabels();
  virtual std::vector<PixelLabel> pixel_labels() const = 0;
  /// Labels of data row `row`. Throws Error(input) naming the file. [any thread]
  virtual LabelMaps label_maps(std::int64_t row) const = 0;
};

}  // namespace linex
