// Pillow's antialiased resampling (libImaging/Resample.c), bit for bit.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "linex/model.hpp"

namespace linex {

/// A rectangle of the resized image.
struct Region {
  std::int64_t top = 0, left = 0, height = 0, width = 0;
};

/// Image.resize((width, height), interpolation), then crop(region): only the region is computed.
/// `image` is uint8 (H, W, 3) contiguous; returns uint8 (region.height, region.width, 3). Equal to
/// Pillow in every bit: 22-bit fixed-point weights, rows before columns, 8-bit intermediates.
torch::Tensor resize_rgb(const torch::Tensor& image, std::int64_t height, std::int64_t width,
                         Preprocess::Interpolation interpolation, const Region& region);

/// Resizes one plane of floats (Pillow's mode "F": double sums, float intermediates). float32
/// (H, W) contiguous to float32 (height, width).
torch::Tensor resize_plane(const torch::Tensor& plane, std::int64_t height, std::int64_t width,
                           Preprocess::Interpolation interpolation);

}  // namespace linex
