// Decoders of the formats that OpenCV does not read as Pillow does, or not without a word on
// stderr; decode_image() chooses.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "linex/error.hpp"

namespace linex {

/// "cannot read image NAME: WHY".
Error unreadable_image(const std::string& name, const std::string& why);
/// Throws Error(input) for more than 178,956,970 pixels (where Pillow raises
/// DecompressionBombError), or none.
void check_image_size(std::int64_t width, std::int64_t height, const std::string& name);

/// What stands before the pixels of a PBM, PGM or PPM.
struct PnmHeader {
  int kind = 0;  ///< the digit of "P6"
  std::int64_t width = 0, height = 0;
  std::int64_t maximum = 1;  ///< the number that means white
  std::size_t pixels = 0;    ///< offset of the first one
};
PnmHeader read_pnm_header(const unsigned char* bytes, std::size_t size, const std::string& name);

// Each returns uint8 (H, W, 3), RGB, and throws Error(input) naming `name`. [any thread]

torch::Tensor decode_png(const unsigned char* bytes, std::size_t size, const std::string& name);
torch::Tensor decode_pnm(const unsigned char* bytes, std::size_t size, const std::string& name);
/// Grey of 1 to 32 bits, float32, palettes, RGB and CMYK of 8 and 16 bits with up to three extra
/// bands, YCbCr; strips and tiles, one plane or several, every compression of libtiff; turned as
/// the tag Orientation says.
torch::Tensor decode_tiff(const unsigned char* bytes, std::size_t size, const std::string& name);
/// The first frame.
torch::Tensor decode_gif(const unsigned char* bytes, std::size_t size, const std::string& name);
/// The first frame of an animation.
torch::Tensor decode_animated_webp(const unsigned char* bytes, std::size_t size,
                                   const std::string& name);

/// int32 (H, W): decode_label_map() of a PNG.
torch::Tensor decode_label_png(const unsigned char* bytes, std::size_t size,
                               const std::string& name);

}  // namespace linex
