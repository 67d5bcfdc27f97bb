// GIF's first frame through giflib, laid out as Pillow's GifImagePlugin does.
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "toolkit/data/image_formats.hpp"

namespace linex {
namespace {

struct Source {
  const unsigned char* at;
  std::size_t left;
};

int read_source(GifFileType* gif, GifByteType* to, int count) {
  auto& source = *static_cast<Source*>(gif->UserData);
  const std::size_t n = std::min(source.left, static_cast<std::size_t>(std::max(count, 0)));
  std::memcpy(to, source.at, n);
  source.at += n;
  source.left -= n;
  return static_cast<int>(n);
}

struct Close {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};

/// Moves to the first frame. Returns the transparent index, 0 where there is none.
int find_frame(GifFileType* gif, const std::string& name) {
  int transparent = 0;
  while (true) {
    GifRecordType record = UNDEFINED_RECORD_TYPE;
    if (DGifGetRecordType(gif, &record) == GIF_ERROR)
      throw unreadable_image(name, "the GIF is truncated or damaged");
    if (record == TERMINATE_RECORD_TYPE) throw unreadable_image(name, "the GIF holds no picture");
    if (record == IMAGE_DESC_RECORD_TYPE) break;
    if (record != EXTENSION_RECORD_TYPE) continue;
    int code = 0;
    GifByteType* block = nullptr;
    bool sound = DGifGetExtension(gif, &code, &block) == GIF_OK;
    GraphicsControlBlock control;
    if (sound && code == GRAPHICS_EXT_FUNC_CODE && block &&
        DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
      transparent = std::max(control.TransparentColor, 0);
    while (sound && block) sound = DGifGetExtensionNext(gif, &block) == GIF_OK;
    if (!sound) throw unreadable_image(name, "the GIF is truncated or damaged");
  }
  if (DGifGetImageDesc(gif) == GIF_ERROR)
    throw unreadable_image(name, "the GIF is truncated or damaged");
  return transparent;
}

}  // namespace

torch::Tensor decode_gif(const unsigned char* bytes, std::size_t size, const std::string& name) {
  Source source{bytes, size};
  int failure = 0;
  const std::unique_ptr<GifFileType, Close> gif(DGifOpen(&source, read_source, &failure));
  if (!gif) throw unreadable_image(name, "the GIF is truncated or damaged");
  const int background = find_frame(gif.get(), name);
  const GifImageDesc& frame = gif->Image;
  const std::int64_t width = std::max(gif->SWidth, frame.Left + frame.Width);
  const std::int64_t height = std::max(gif->SHeight, frame.Top + frame.Height);
  check_image_size(width, height, name);

  std::uint8_t colours[256][3];  // grey where the file names none
  for (int i = 0; i < 256; ++i) std::fill_n(colours[i], 3, static_cast<std::uint8_t>(i));
  if (const ColorMapObject* map = frame.ColorMap ? frame.ColorMap : gif->SColorMap)
    for (int i = 0; i < std::min(map->ColorCount, 256); ++i) {
      colours[i][0] = map->Colors[i].Red;
      colours[i][1] = map->Colors[i].Green;
      colours[i][2] = map->Colors[i].Blue;
    }
  torch::Tensor pixels = torch::empty({height, width, 3}, torch::kUInt8);
  auto* const out = pixels.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < height * width; ++i)
    std::memcpy(out + 3 * i, colours[background], 3);

  std::vector<GifPixelType> line(static_cast<std::size_t>(frame.Width));
  struct Pass {
    int first, step;
  };
  const std::vector<Pass> passes = frame.Interlace
                                       ? std::vector<Pass>{{0, 8}, {4, 8}, {2, 4}, {1, 2}}
                                       : std::vector<Pass>{{0, 1}};
  for (const Pass& pass : passes)
    for (std::int64_t y = pass.first; y < frame.Height; y += pass.step) {
      if (DGifGetLine(gif.get(), line.data(), frame.Width) == GIF_ERROR)
        throw unreadable_image(name, "the GIF is truncated or damaged");
      std::uint8_t* to = out + 3 * ((frame.Top + y) * width + frame.Left);
      for (const GifPixelType index : line) to = std::copy_n(colours[index], 3, to);
    }
  return pixels;
}

}  // namespace linex
