// WebP animations through libwebpdemux, which draws frames on the canvas as Pillow has them.
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "toolkit/data/image_formats.hpp"

namespace linex {

torch::Tensor decode_animated_webp(const unsigned char* bytes, std::size_t size,
                                   const std::string& name) {
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  options.color_mode = MODE_RGBA;
  const WebPData data{bytes, size};
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
      WebPAnimDecoderNew(&data, &options), &WebPAnimDecoderDelete);
  WebPAnimInfo info;
  std::uint8_t* canvas = nullptr;
  int time = 0;
  if (!decoder || !WebPAnimDecoderGetInfo(decoder.get(), &info) ||
      !WebPAnimDecoderGetNext(decoder.get(), &canvas, &time))
    throw unreadable_image(name, "its content is damaged");
  torch::Tensor pixels = torch::empty({info.canvas_height, info.canvas_width, 3}, torch::kUInt8);
  auto* out = pixels.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < pixels.size(0) * pixels.size(1); ++i, canvas += 4)
    out = std::copy_n(canvas, 3, out);
  return pixels;
}

}  // namespace linex
