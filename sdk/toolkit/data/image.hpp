// Image files to pixels, as Pillow's convert("RGB") gives them.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <string>

namespace linex {

/// Decodes JPEG, PNG, GIF, BMP, PNM, WebP or TIFF bytes to uint8 (H, W, 3), RGB. Like Pillow: EXIF
/// orientation is ignored (TIFF's is followed), alpha dropped, a palette looked up, grey repeated,
/// deeper grey clipped to 255 (not scaled), of an animation the first frame taken. CMYK JPEGs may
/// differ from Pillow by 2 grey levels (OpenCV divides by 256).
/// Size and structure are checked first (image_header.hpp). Throws Error(input) naming `name`.
/// [any thread]
torch::Tensor decode_image(const unsigned char* bytes, std::size_t size, const std::string& name);

/// The values of a label map, int32 (H, W), as numpy.array(Image.open(f)) gives them: of a palette
/// the index, of one bit 0 or 1, of 2 and 4 bits grey 0 to 255, of 16 bits all of them; alpha is
/// dropped. Throws Error(input) naming `name` for anything but a PNG, and for colours. [any thread]
torch::Tensor decode_label_map(const unsigned char* bytes, std::size_t size,
                               const std::string& name);

}  // namespace linex
