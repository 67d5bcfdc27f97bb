// TIFF through libtiff, converted as Pillow's TiffImagePlugin and convert("RGB") do.
#include <tiffio.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "toolkit/data/image_formats.hpp"

namespace linex {
namespace {

constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 30;

/// A file in memory, as libtiff reads it.
struct Source {
  const unsigned char* bytes;
  std::uint64_t size, at;
};

tmsize_t read_source(thandle_t handle, void* to, tmsize_t count) {
  auto& source = *static_cast<Source*>(handle);
  const std::uint64_t left = source.size - std::min(source.at, source.size);
  const std::uint64_t n = std::min(left, static_cast<std::uint64_t>(std::max<tmsize_t>(count, 0)));
  std::memcpy(to, source.bytes + (source.size - left), n);
  source.at += n;
  return static_cast<tmsize_t>(n);
}
tmsize_t write_nothing(thandle_t, void*, tmsize_t) { return 0; }
toff_t seek_source(thandle_t handle, toff_t offset, int whence) {
  auto& source = *static_cast<Source*>(handle);
  source.at = offset + (whence == SEEK_CUR ? source.at : whence == SEEK_END ? source.size : 0);
  return source.at;
}
int close_source(thandle_t) { return 0; }
toff_t size_of_source(thandle_t handle) { return static_cast<Source*>(handle)->size; }

struct Close {
  void operator()(TIFF* file) const { TIFFClose(file); }
};

/// Samples of a rectangle of the image: interleaved, or one plane after another.
struct Block {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
  const std::uint8_t* first = nullptr;
  std::int64_t row_bytes = 0, plane_bytes = 0;  // planes: 0 where interleaved
};

class TiffImage {
 public:
  TiffImage(const unsigned char* bytes, std::size_t size, const std::string& name)
      : name_(name), source_{bytes, size, 0} {
    static const bool configured = [] {
      TIFFSetErrorHandler(nullptr);  // it would write to stderr; results are checked
      TIFFSetWarningHandler(nullptr);
      return true;
    }();
    static_cast<void>(configured);
    file_.reset(TIFFClientOpen(name.c_str(), "rm", &source_, read_source, write_nothing,
                               seek_source, close_source, size_of_source, nullptr, nullptr));
    if (!file_) throw damaged();
    std::uint32_t width = 0, height = 0;
    if (!TIFFGetField(file_.get(), TIFFTAG_IMAGEWIDTH, &width) ||
        !TIFFGetField(file_.get(), TIFFTAG_IMAGELENGTH, &height))
      throw damaged();
    width_ = width;
    height_ = height;
    check_image_size(width_, height_, name_);
    TIFFGetField(file_.get(), TIFFTAG_PHOTOMETRIC, &photometric_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_BITSPERSAMPLE, &bits_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_SAMPLESPERPIXEL, &samples_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_SAMPLEFORMAT, &format_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_PLANARCONFIG, &planar_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_COMPRESSION, &compression_);
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_ORIENTATION, &orientation_);
    std::uint16_t extras = 0;
    const std::uint16_t* kinds = nullptr;
    TIFFGetFieldDefaulted(file_.get(), TIFFTAG_EXTRASAMPLES, &extras, &kinds);
    premultiplied_ = extras > 0 && kinds[0] == EXTRASAMPLE_ASSOCALPHA;
    // Old JPEG is YCbCr whatever the file says.
    if (compression_ == COMPRESSION_OJPEG) photometric_ = PHOTOMETRIC_YCBCR;
  }

  torch::Tensor decode() {
    pixels_ = torch::empty({height_, width_, 3}, torch::kUInt8);
    if (photometric_ == PHOTOMETRIC_YCBCR && !read_ycbcr_as_rgb()) {
      read_through_rgba();
      return pixels_;
    }
    check_supported();
    if (photometric_ == PHOTOMETRIC_PALETTE) read_palette();
    read_blocks();
    return turned(pixels_);
  }

 private:
  Error damaged() const {
    return unreadable_image(name_,
                            "the TIFF is truncated, damaged or compressed in a way that "
                            "libtiff does not read");
  }

  /// libtiff converts JPEG's colours while it unpacks.
  bool read_ycbcr_as_rgb() {
    if (compression_ != COMPRESSION_JPEG || planar_ != PLANARCONFIG_CONTIG) return false;
    TIFFSetField(file_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    photometric_ = PHOTOMETRIC_RGB;
    return true;
  }

  void read_through_rgba() {
    std::vector<std::uint32_t> raster(static_cast<std::size_t>(width_ * height_));
    if (!TIFFReadRGBAImageOriented(file_.get(), static_cast<std::uint32_t>(width_),
                                   static_cast<std::uint32_t>(height_), raster.data(),
                                   ORIENTATION_TOPLEFT, /*stop_on_error=*/1))
      throw damaged();
    auto* out = pixels_.data_ptr<std::uint8_t>();
    for (const std::uint32_t pixel : raster) {
      *out++ = static_cast<std::uint8_t>(TIFFGetR(pixel));
      *out++ = static_cast<std::uint8_t>(TIFFGetG(pixel));
      *out++ = static_cast<std::uint8_t>(TIFFGetB(pixel));
    }
  }

  bool is_grey() const {
    return photometric_ == PHOTOMETRIC_MINISWHITE || photometric_ == PHOTOMETRIC_MINISBLACK;
  }
  int colours() const {
    return photometric_ == PHOTOMETRIC_RGB ? 3 : photometric_ == PHOTOMETRIC_SEPARATED ? 4 : 1;
  }

  void check_supported() const {
    const bool whole = format_ == SAMPLEFORMAT_UINT, grey = is_grey();
    const bool one_byte = whole && bits_ == 8, two_bytes = whole && bits_ == 16;
    bool ok = false;
    if (photometric_ == PHOTOMETRIC_RGB || photometric_ == PHOTOMETRIC_SEPARATED)
      ok = one_byte || two_bytes;
    else if (grey || photometric_ == PHOTOMETRIC_PALETTE)
      ok = one_byte || (whole && samples_ == 1 && (bits_ == 1 || bits_ == 2 || bits_ == 4));
    if (grey && samples_ == 1)
      ok = ok || two_bytes || (whole && (bits_ == 12 || bits_ == 32)) ||
           (format_ == SAMPLEFORMAT_INT && (bits_ == 16 || bits_ == 32)) ||
           (format_ == SAMPLEFORMAT_IEEEFP && bits_ == 32);
    ok = ok && samples_ >= colours() && samples_ <= colours() + 3;
    if (ok) return;
    const char* const kind = grey                                    ? "grey"
                             : photometric_ == PHOTOMETRIC_RGB       ? "RGB"
                             : photometric_ == PHOTOMETRIC_PALETTE   ? "palette"
                             : photometric_ == PHOTOMETRIC_SEPARATED ? "CMYK"
                             : photometric_ == PHOTOMETRIC_CIELAB    ? "CIELAB"
                                                                     : "unusual";
    throw unreadable_image(name_, "a TIFF of " + std::to_string(samples_) + " " + kind + " band" +
                                      (samples_ == 1 ? "" : "s") + " of " + std::to_string(bits_) +
                                      " bits" + (format_ == SAMPLEFORMAT_IEEEFP ? " (float)" : "") +
                                      " is not supported; convert it to RGB of 8 bits");
  }

  void read_palette() {
    std::uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
    if (!TIFFGetField(file_.get(), TIFFTAG_COLORMAP, &red, &green, &blue))
      throw unreadable_image(name_, "a palette TIFF without its palette");
    for (std::size_t i = 0; i < std::size_t{1} << bits_; ++i)
      for (const std::uint16_t* plane : {red, green, blue})
        palette_.push_back(static_cast<std::uint8_t>(plane[i] >> 8));
  }

  void read_blocks() {
    const bool tiled = TIFFIsTiled(file_.get());
    const bool planes = planar_ == PLANARCONFIG_SEPARATE && samples_ > 1;
    const std::uint64_t bytes = tiled ? TIFFTileSize64(file_.get()) : TIFFStripSize64(file_.get());
    const std::uint64_t row =
        tiled ? TIFFTileRowSize64(file_.get()) : TIFFScanlineSize64(file_.get());
    const std::uint64_t all = bytes * (planes ? samples_ : 1);
    if (bytes == 0 || row == 0 || all > kMaxBlockBytes) throw damaged();
    std::uint32_t width = static_cast<std::uint32_t>(width_), height = 0;
    if (tiled) {
      TIFFGetField(file_.get(), TIFFTAG_TILEWIDTH, &width);
      TIFFGetField(file_.get(), TIFFTAG_TILELENGTH, &height);
    } else {
      TIFFGetFieldDefaulted(file_.get(), TIFFTAG_ROWSPERSTRIP, &height);
      height = std::min(height, static_cast<std::uint32_t>(height_));
    }
    const std::uint64_t row_bits = std::uint64_t{width} * bits_ * (planes ? 1 : samples_);
    if (width == 0 || height == 0 || bytes / height < row || row * 8 < row_bits) throw damaged();
    const std::unique_ptr<std::uint8_t[]> buffer(new std::uint8_t[all]);
    Block block;
    block.first = buffer.get();
    block.row_bytes = static_cast<std::int64_t>(row);
    block.plane_bytes = planes ? static_cast<std::int64_t>(bytes) : 0;
    for (block.y = 0; block.y < height_; block.y += height)
      for (block.x = 0; block.x < width_; block.x += width) {
        block.width = std::min<std::int64_t>(width, width_ - block.x);
        block.height = std::min<std::int64_t>(height, height_ - block.y);
        for (std::uint16_t plane = 0; plane < (planes ? samples_ : 1); ++plane)
          read_block(tiled, block, plane, buffer.get() + plane * bytes,
                     static_cast<tmsize_t>(bytes));
        convert(block);
      }
  }

  void read_block(bool tiled, const Block& block, std::uint16_t plane, std::uint8_t* to,
                  tmsize_t bytes) {
    const auto x = static_cast<std::uint32_t>(block.x), y = static_cast<std::uint32_t>(block.y);
    const tmsize_t wanted = tiled ? bytes : block.row_bytes * block.height;
    const tmsize_t got =
        tiled ? TIFFReadEncodedTile(file_.get(), TIFFComputeTile(file_.get(), x, y, 0, plane), to,
                                    wanted)
              : TIFFReadEncodedStrip(file_.get(), TIFFComputeStrip(file_.get(), y, plane), to,
                                     wanted);
    if (got < wanted) throw damaged();
  }

  void convert(const Block& block) {
    for (std::int64_t y = 0; y < block.height; ++y) {
      const std::uint8_t* row = block.first + y * block.row_bytes;
      std::uint8_t* out = pixels_.data_ptr<std::uint8_t>() + 3 * ((block.y + y) * width_ + block.x);
      if (colours() == 1)
        convert_single(row, block, out);
      else
        convert_colours(row, block, out);
    }
  }

  /// One sample that counts: grey, or an index into the palette.
  void convert_single(const std::uint8_t* row, const Block& block, std::uint8_t* out) const {
    const std::int64_t step = block.plane_bytes ? 1 : samples_;
    for (std::int64_t i = 0; i < block.width; ++i) {
      if (!palette_.empty()) {
        out = std::copy_n(&palette_[3 * small_sample(row, i, step)], 3, out);
        continue;
      }
      std::uint8_t grey = 0;
      if (bits_ <= 8) {
        // 1, 2 and 4 bits fill the scale; deeper ones are clipped to it.
        grey = static_cast<std::uint8_t>(small_sample(row, i, step) * 255 / ((1U << bits_) - 1));
        if (photometric_ == PHOTOMETRIC_MINISWHITE) grey = static_cast<std::uint8_t>(255 - grey);
      } else {
        grey = static_cast<std::uint8_t>(std::clamp(deep_sample(row, i), 0.0, 255.0));
      }
      out = std::fill_n(out, 3, grey);
    }
  }

  unsigned small_sample(const std::uint8_t* row, std::int64_t i, std::int64_t step) const {
    if (bits_ == 8) return row[i * step];
    const std::int64_t bit = i * bits_;
    return row[bit / 8] >> (8 - bits_ - bit % 8) & ((1U << bits_) - 1);
  }

  double deep_sample(const std::uint8_t* row, std::int64_t i) const {
    if (bits_ == 12) {
      const std::uint8_t* pair = row + i / 2 * 3;
      return i % 2 ? (pair[1] & 15) << 8 | pair[2] : pair[0] << 4 | pair[1] >> 4;
    }
    if (bits_ == 16)
      return format_ == SAMPLEFORMAT_INT ? load<std::int16_t>(row, i) : load<std::uint16_t>(row, i);
    if (format_ != SAMPLEFORMAT_IEEEFP) return load<std::int32_t>(row, i);  // unsigned ones, too
    const float value = load<float>(row, i);
    return std::isnan(value) ? 0 : value;
  }

  template <class T>
  static T load(const std::uint8_t* row, std::int64_t i) {
    T value;
    std::memcpy(&value, row + i * static_cast<std::int64_t>(sizeof value), sizeof value);
    return value;
  }

  /// RGB or CMYK and what follows them.
  void convert_colours(const std::uint8_t* row, const Block& block, std::uint8_t* out) const {
    const std::int64_t bytes = bits_ / 8;
    const std::int64_t pixel = block.plane_bytes ? bytes : bytes * samples_;
    const std::int64_t next = block.plane_bytes ? block.plane_bytes : bytes;
    const bool cmyk = photometric_ == PHOTOMETRIC_SEPARATED;
    const bool alpha = premultiplied_ && !cmyk;
    const int wanted = colours() + (alpha ? 1 : 0);
    for (std::int64_t i = 0; i < block.width; ++i, row += pixel) {
      int sample[4] = {};
      for (int s = 0; s < wanted; ++s)
        sample[s] = bits_ == 8 ? row[s * next] : load<std::uint16_t>(row + s * next, 0) >> 8;
      for (int c = 0; c < 3; ++c) {
        if (cmyk) {
          // Pillow's MULDIV255
          const int product = sample[c] * (255 - sample[3]) + 128;
          *out++ = static_cast<std::uint8_t>(
              std::max(255 - sample[3] - (((product >> 8) + product) >> 8), 0));
        } else if (alpha) {
          *out++ = static_cast<std::uint8_t>(
              sample[3] == 0 ? 0 : std::min(sample[c] * 255 / sample[3], 255));
        } else {
          *out++ = static_cast<std::uint8_t>(sample[c]);
        }
      }
    }
  }

  torch::Tensor turned(const torch::Tensor& image) const {
    switch (orientation_) {
      case ORIENTATION_TOPRIGHT:
        return image.flip(1);
      case ORIENTATION_BOTRIGHT:
        return image.flip({0, 1});
      case ORIENTATION_BOTLEFT:
        return image.flip(0);
      case ORIENTATION_LEFTTOP:
        return image.transpose(0, 1).contiguous();
      case ORIENTATION_RIGHTTOP:
        return image.transpose(0, 1).flip(1).contiguous();
      case ORIENTATION_RIGHTBOT:
        return image.transpose(0, 1).flip({0, 1}).contiguous();
      case ORIENTATION_LEFTBOT:
        return image.transpose(0, 1).flip(0).contiguous();
      default:
        return image;
    }
  }

  const std::string& name_;
  Source source_;
  std::unique_ptr<TIFF, Close> file_;
  std::int64_t width_ = 0, height_ = 0;
  std::uint16_t photometric_ = PHOTOMETRIC_MINISWHITE, bits_ = 1, samples_ = 1;
  std::uint16_t format_ = SAMPLEFORMAT_UINT, planar_ = PLANARCONFIG_CONTIG;
  std::uint16_t compression_ = COMPRESSION_NONE, orientation_ = ORIENTATION_TOPLEFT;
  bool premultiplied_ = false;
  std::vector<std::uint8_t> palette_;  // red, green, blue by index
  torch::Tensor pixels_;
};

}  // namespace

torch::Tensor decode_tiff(const unsigned char* bytes, std::size_t size, const std::string& name) {
  return TiffImage(bytes, size, name).decode();
}

}  // namespace linex
