// PNG through libpng, whose messages would otherwise go to stderr.
#include <png.h>

#include <algorithm>
#include <csetjmp>
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

void read_source(png_structp png, png_bytep to, std::size_t count) {
  auto& source = *static_cast<Source*>(png_get_io_ptr(png));
  if (count > source.left) png_error(png, "truncated");
  std::memcpy(to, source.at, count);
  source.at += count;
  source.left -= count;
}
[[noreturn]] void on_error(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void on_warning(png_structp, png_const_charp) {}

/// Owns what libpng allocates; apart from PngFile because that may throw while it is constructed.
struct PngState {
  PngState() : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning)) {
    if (png) info = png_create_info_struct(png);
  }
  ~PngState() { png_destroy_read_struct(&png, &info, nullptr); }
  PngState(const PngState&) = delete;
  PngState& operator=(const PngState&) = delete;

  png_structp png;
  png_infop info = nullptr;
};

class PngFile {
 public:
  PngFile(const unsigned char* bytes, std::size_t size, const std::string& name)
      : name_(name), source_{bytes, size} {
    if (!info_) throw std::bad_alloc();
    png_set_user_limits(png_, 0x7fffffff, 0x7fffffff);  // check_image_size() bounds the product
    png_set_read_fn(png_, &source_, read_source);
    if (!read_info()) throw damaged();
    check_image_size(width(), height(), name_);
  }

  std::int64_t width() const { return png_get_image_width(png_, info_); }
  std::int64_t height() const { return png_get_image_height(png_, info_); }
  int bits() const { return png_get_bit_depth(png_, info_); }
  int colour() const { return png_get_color_type(png_, info_); }

  /// Bytes of all samples, a byte each or two of 16 bits, once `prepare` has told libpng how to
  /// give them.
  std::size_t start(void (*prepare)(png_structp)) {
    if (!apply(prepare)) throw damaged();
    return png_get_rowbytes(png_, info_) * static_cast<std::size_t>(height());
  }
  void read(unsigned char* samples) {
    const std::size_t row = png_get_rowbytes(png_, info_);
    std::vector<png_bytep> rows(static_cast<std::size_t>(height()));
    for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = samples + y * row;
    if (!read_rows(rows.data())) throw damaged();
  }
  std::unique_ptr<unsigned char[]> read_all(void (*prepare)(png_structp)) {
    std::unique_ptr<unsigned char[]> samples(new unsigned char[start(prepare)]);
    read(samples.get());
    return samples;
  }
  Error damaged() const { return unreadable_image(name_, "its content is damaged"); }

 private:
  // libpng leaves these by longjmp(): nothing in them may need a destructor.
  bool read_info() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_info(png_, info_);
    return true;
  }
  bool apply(void (*prepare)(png_structp)) {
    if (setjmp(png_jmpbuf(png_))) return false;
    prepare(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  const std::string& name_;
  Source source_;
  PngState state_;
  png_structp png_ = state_.png;
  png_infop info_ = state_.info;
};

void as_rgb(png_structp png) {
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
}
void as_deep_grey(png_structp) {}
void as_labels(png_structp png) {
  png_set_packing(png);  // a byte a sample, unscaled
  png_set_strip_alpha(png);
}

std::int32_t big_endian(const unsigned char* at) { return at[0] << 8 | at[1]; }

}  // namespace

torch::Tensor decode_png(const unsigned char* bytes, std::size_t size, const std::string& name) {
  PngFile file(bytes, size, name);
  const std::int64_t n = file.width() * file.height();
  torch::Tensor pixels = torch::empty({file.height(), file.width(), 3}, torch::kUInt8);
  auto* out = pixels.data_ptr<std::uint8_t>();
  if (file.bits() == 16 && file.colour() == PNG_COLOR_TYPE_GRAY) {
    // Pillow's mode "I": clipped, not scaled.
    const auto samples = file.read_all(as_deep_grey);
    for (std::int64_t i = 0; i < n; ++i)
      out = std::fill_n(out, 3,
                        static_cast<std::uint8_t>(std::min(big_endian(&samples[2 * i]), 255)));
    return pixels;
  }
  if (file.start(as_rgb) != static_cast<std::size_t>(pixels.numel())) throw file.damaged();
  file.read(out);
  return pixels;
}

torch::Tensor decode_label_png(const unsigned char* bytes, std::size_t size,
                               const std::string& name) {
  PngFile file(bytes, size, name);
  const bool colour = file.colour() == PNG_COLOR_TYPE_RGB || file.colour() == PNG_COLOR_TYPE_RGBA;
  const bool grey = file.colour() != PNG_COLOR_TYPE_PALETTE;
  const int bits = file.bits(), channels = colour ? 3 : 1;
  torch::Tensor labels = torch::empty({file.height(), file.width()}, torch::kInt32);
  auto* const out = labels.data_ptr<std::int32_t>();
  const auto samples = file.read_all(as_labels);
  const int scale = grey && (bits == 2 || bits == 4) ? 255 / ((1 << bits) - 1) : 1;
  const std::size_t step = bits == 16 ? 2 : 1;
  const auto value = [&](std::size_t i) {
    return step == 2 ? big_endian(&samples[2 * i]) : samples[i] * scale;
  };
  for (std::int64_t i = 0; i < labels.numel(); ++i) {
    const std::size_t at = static_cast<std::size_t>(i * channels);
    out[i] = value(at);
    for (int c = 1; c < channels; ++c)
      if (value(at + static_cast<std::size_t>(c)) != out[i])
        throw input_error(name +
                          " is a colour image; save label maps as 8-bit grey or with a "
                          "palette, the value being the label's number");
  }
  return labels;
}

}  // namespace linex
