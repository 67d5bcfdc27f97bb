// One image to a network's input: resize, centre crop, normalise, as torchvision's transforms do.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "linex/model.hpp"

namespace linex {

struct ImageSize {
  std::int64_t height = 0, width = 0;
  bool operator==(const ImageSize& other) const {
    return height == other.height && width == other.width;
  }
  bool operator!=(const ImageSize& other) const { return !(*this == other); }
};

/// How the centre crop halves an odd margin: to the even neighbour (torchvision), or down
/// (transformers).
enum class Margin { half_to_even, down };

/// The size an image of size `in` has after `preprocess`.
ImageSize output_size(const Preprocess& preprocess, ImageSize in);

/// Which part of an image a network sees.
struct View {
  ImageSize resized;               ///< the whole image after resizing
  std::int64_t top = 0, left = 0;  ///< of the input within it; negative where the crop pads
  ImageSize input;                 ///< the network's input
};
View network_view(const Preprocess& preprocess, ImageSize in);

/// The uint8 pixels a network sees: `image` (H, W, 3) after resize and crop. CenterCrop of a
/// smaller image pads with black.
torch::Tensor resize_and_crop(const torch::Tensor& image, const Preprocess& preprocess,
                              Margin margin = Margin::half_to_even);

/// Resizes, crops and writes (pixel / 255 - mean) / std to `out`, planar float32 (3, h, w) with
/// (h, w) = output_size(). `image` is uint8 (H, W, 3).
void preprocess_image(const torch::Tensor& image, const Preprocess& preprocess, float* out,
                      Margin margin = Margin::half_to_even);

}  // namespace linex
