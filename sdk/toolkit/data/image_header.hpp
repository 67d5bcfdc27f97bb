// What an image file says about itself before anything is decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace linex {

enum class ImageFormat { jpeg, png, bmp, pnm, webp, tiff, gif };

struct ImageHeader {
  ImageFormat format = ImageFormat::jpeg;
  std::int64_t width = 0, height = 0;
  bool animated = false;  ///< WebP of several frames
  int green_bits = 0;     ///< BMP of 16 bits a pixel: 5 or 6, red and blue having 5; else 0
};

/// Reads format and size from the first bytes (whatever the file is called), and walks JPEG and PNG
/// to their end, so that a truncated file is found without decoding. `name` is for messages. Throws
/// Error(input) for an empty, truncated, unknown (AVIF, HEIC, ...) or absurdly large image: more
/// than 178,956,970 pixels, as Pillow.
ImageHeader read_image_header(const unsigned char* bytes, std::size_t size,
                              const std::string& name);

}  // namespace linex
