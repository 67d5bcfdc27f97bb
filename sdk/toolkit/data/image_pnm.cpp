// PBM, PGM and PPM (netpbm.sourceforge.net/doc), scaled as Pillow's PpmImagePlugin does.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <vector>

#include "toolkit/data/image_formats.hpp"

namespace linex {
namespace {

/// Numbers and bits of a file, separated by blanks and comments.
class Reader {
 public:
  Reader(const unsigned char* bytes, std::size_t size, std::size_t at, const std::string& name)
      : bytes_(bytes), size_(size), at_(at), name_(name) {}

  std::size_t at() const { return at_; }

  std::int64_t number() {
    skip_blanks();
    std::int64_t value = 0;
    int digits = 0;
    for (; at_ < size_ && std::isdigit(bytes_[at_]) && digits < 10; ++at_, ++digits)
      value = value * 10 + (bytes_[at_] - '0');
    if (digits == 0 && at_ >= size_) throw truncated();
    if (digits == 0 || digits == 10) throw unreadable_image(name_, "a number in it is damaged");
    return value;
  }
  /// Of plain PBM, whose digits need no blanks between them.
  int bit() {
    skip_blanks();
    if (at_ >= size_) throw truncated();
    const int value = bytes_[at_++] - '0';
    if (value != 0 && value != 1) throw unreadable_image(name_, "a PBM pixel is neither 0 nor 1");
    return value;
  }
  Error truncated() const {
    return unreadable_image(name_, "the file is truncated (" + std::to_string(size_) + " bytes)");
  }

 private:
  void skip_blanks() {
    for (; at_ < size_ && (std::isspace(bytes_[at_]) || bytes_[at_] == '#'); ++at_)
      if (bytes_[at_] == '#')
        while (at_ + 1 < size_ && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
  }

  const unsigned char* bytes_;
  std::size_t size_, at_;
  const std::string& name_;
};

/// A sample in 8 bits. Colours and grey up to 255 are scaled; deeper grey is scaled to 16 bits and
/// then clipped, which is what convert("RGB") makes of mode "I".
std::uint8_t to_byte(std::int64_t value, std::int64_t maximum, bool deep_grey) {
  const double white = deep_grey ? 65535 : 255;
  const double scaled =
      std::nearbyint(static_cast<double>(value) / static_cast<double>(maximum) * white);
  return static_cast<std::uint8_t>(std::min(scaled, 255.0));
}

}  // namespace

PnmHeader read_pnm_header(const unsigned char* bytes, std::size_t size, const std::string& name) {
  PnmHeader header;
  header.kind = bytes[1] - '0';
  Reader reader(bytes, size, 2, name);
  header.width = reader.number();
  header.height = reader.number();
  if (header.kind != 1 && header.kind != 4) header.maximum = reader.number();
  if (header.maximum < 1 || header.maximum > 65535)
    throw unreadable_image(name, "its largest value is " + std::to_string(header.maximum) +
                                     ", where PNM has 1 to 65535");
  header.pixels = reader.at() + 1;  // one blank
  return header;
}

torch::Tensor decode_pnm(const unsigned char* bytes, std::size_t size, const std::string& name) {
  const PnmHeader header = read_pnm_header(bytes, size, name);
  check_image_size(header.width, header.height, name);
  const bool plain = header.kind <= 3, bits = header.kind % 3 == 1, colour = header.kind % 3 == 0;
  const std::int64_t channels = colour ? 3 : 1, row_samples = header.width * channels;
  const std::int64_t sample_bytes = header.maximum > 255 ? 2 : 1;
  const std::int64_t row_bytes = bits ? (header.width + 7) / 8 : row_samples * sample_bytes;
  Reader reader(bytes, size, header.pixels, name);
  // A digit a pixel is the least that a plain file takes.
  const std::int64_t least = (plain ? row_samples : row_bytes) * header.height;
  if (header.pixels > size || static_cast<std::int64_t>(size - header.pixels) < least)
    throw reader.truncated();

  const bool deep_grey = !colour && header.maximum > 255;
  std::vector<std::uint8_t> byte_of(static_cast<std::size_t>(sample_bytes == 1 ? 256 : 65536));
  for (std::size_t value = 0; value < byte_of.size(); ++value)
    byte_of[value] = to_byte(static_cast<std::int64_t>(value), header.maximum, deep_grey);
  torch::Tensor pixels = torch::empty({header.height, header.width, 3}, torch::kUInt8);
  auto* out = pixels.data_ptr<std::uint8_t>();
  const auto put = [&](std::uint8_t value) {
    for (std::int64_t copy = 0; copy < 3 / channels; ++copy) *out++ = value;
  };
  for (std::int64_t y = 0; y < header.height; ++y) {
    if (plain) {
      for (std::int64_t i = 0; i < row_samples; ++i) {
        if (bits) {
          put(reader.bit() ? 0 : 255);
          continue;
        }
        const std::int64_t value = reader.number();
        if (value > header.maximum)
          throw unreadable_image(name, "the value " + std::to_string(value) +
                                           " is above its largest, " +
                                           std::to_string(header.maximum));
        put(byte_of[static_cast<std::size_t>(value)]);
      }
      continue;
    }
    const unsigned char* row = bytes + header.pixels + y * row_bytes;
    for (std::int64_t i = 0; i < row_samples; ++i) {
      if (bits)
        put((row[i / 8] >> (7 - i % 8) & 1) ? 0 : 255);
      else
        put(byte_of[sample_bytes == 1 ? row[i] : std::size_t{row[2 * i]} << 8 | row[2 * i + 1]]);
    }
  }
  return pixels;
}

}  // namespace linex
