#include "toolkit/data/image_header.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>

#include "linex/error.hpp"
#include "toolkit/data/image_formats.hpp"

namespace linex {
namespace {

// PIL.Image.MAX_IMAGE_PIXELS * 2
constexpr std::int64_t kMaxPixels = 178956970;

/// A decoder goes over the whole picture once a scan, and a scan can take a dozen bytes. Real files
/// have up to about 30; more are allowed while they cost less than one pass over the largest image
/// for each of those.
constexpr std::int64_t kUsualScans = 32;
constexpr std::int64_t kMaxScanPixels = std::int64_t{1} << 31;

Error unreadable(const std::string& name, const std::string& why) {
  return unreadable_image(name, why);
}

/// Bounds-checked view of a file's bytes.
class Bytes {
 public:
  Bytes(const unsigned char* data, std::size_t size, const std::string& name)
      : data_(data), size_(size), name_(name) {}

  std::size_t size() const { return size_; }
  const std::string& name() const { return name_; }
  const unsigned char* at(std::size_t offset) const { return data_ + offset; }
  bool starts_with(std::size_t offset, const char* text, std::size_t length) const {
    return has(offset, length) && std::memcmp(data_ + offset, text, length) == 0;
  }
  bool has(std::size_t offset, std::size_t length) const {
    return offset <= size_ && length <= size_ - offset;
  }
  std::uint32_t big(std::size_t offset, int length) const {
    return number(offset, length, /*big_endian=*/true);
  }
  std::uint32_t little(std::size_t offset, int length) const {
    return number(offset, length, /*big_endian=*/false);
  }
  std::uint32_t number(std::size_t offset, int length, bool big_endian) const {
    return static_cast<std::uint32_t>(wide_number(offset, length, big_endian));
  }
  std::uint64_t wide_number(std::size_t offset, int length, bool big_endian) const {
    if (!has(offset, static_cast<std::size_t>(length))) throw truncated();
    std::uint64_t value = 0;
    for (int i = 0; i < length; ++i)
      value =
          value << 8 | data_[offset + static_cast<std::size_t>(big_endian ? i : length - 1 - i)];
    return value;
  }
  Error truncated() const {
    return unreadable(name_, "the file is truncated (" + std::to_string(size_) + " bytes)");
  }

 private:
  const unsigned char* data_;
  std::size_t size_;
  const std::string& name_;
};

/// JPEG (ITU T.81 Annex B): every marker segment up to the end-of-image marker. Pillow, too, calls
/// a file without that marker truncated.
ImageHeader walk_jpeg(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::jpeg;
  std::size_t at = 2;
  std::int64_t scans = 0;
  while (true) {
    if (at >= file.size()) throw file.truncated();
    const void* found = std::memchr(file.at(at), 0xff, file.size() - at);
    if (!found) throw file.truncated();
    at = static_cast<std::size_t>(static_cast<const unsigned char*>(found) - file.at(0)) + 1;
    if (at >= file.size()) throw file.truncated();
    const unsigned marker = *file.at(at);
    if (marker == 0xff) continue;  // fill byte: the next one may be the marker
    ++at;
    if (marker == 0xd9) break;
    const bool alone = marker == 0x00 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    if (alone) continue;
    const std::size_t length = file.big(at, 2);
    if (length < 2 || !file.has(at, length)) throw file.truncated();
    const bool frame =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame && header.width == 0) {
      header.height = file.big(at + 3, 2);
      header.width = file.big(at + 5, 2);
    }
    scans += marker == 0xda;
    at += length;
  }
  if (scans > kUsualScans &&
      scans * header.width > kMaxScanPixels / std::max<std::int64_t>(header.height, 1))
    throw unreadable(file.name(), "a JPEG of " + std::to_string(scans) +
                                      " scans would take minutes to decode; save it again");
  return header;
}

/// PNG (RFC 2083): every chunk up to IEND.
ImageHeader walk_png(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::png;
  if (!file.starts_with(12, "IHDR", 4)) throw unreadable(file.name(), "its PNG header is damaged");
  header.width = file.big(16, 4);
  header.height = file.big(20, 4);
  bool pixels = false;
  for (std::size_t at = 8; !file.starts_with(at + 4, "IEND", 4);) {
    const std::size_t length = file.big(at, 4);
    pixels = pixels || file.starts_with(at + 4, "IDAT", 4);
    if (!file.has(at + 8, length + 4)) throw file.truncated();
    at += length + 12;
  }
  if (!pixels) throw unreadable(file.name(), "the PNG holds no pixels");
  return header;
}

ImageHeader read_bmp(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::bmp;
  if (file.little(14, 4) == 12) {
    header.width = file.little(18, 2);
    header.height = file.little(20, 2);
  } else {
    header.width = static_cast<std::int32_t>(file.little(18, 4));
    // A negative height means rows from top to bottom.
    header.height =
        std::abs(static_cast<std::int64_t>(static_cast<std::int32_t>(file.little(22, 4))));
    // Bit fields (compression 3) name their masks behind the 40 bytes: red, green, blue.
    if (file.little(28, 2) == 16)
      header.green_bits = file.little(30, 4) == 3 && file.little(58, 4) == 0x7e0 ? 6 : 5;
  }
  return header;
}

ImageHeader read_pnm(const Bytes& file) {
  const PnmHeader pnm = read_pnm_header(file.at(0), file.size(), file.name());
  ImageHeader header;
  header.format = ImageFormat::pnm;
  header.width = pnm.width;
  header.height = pnm.height;
  return header;
}

/// The size of the logical screen; frames may reach beyond it.
ImageHeader read_gif(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::gif;
  header.width = std::max<std::int64_t>(file.little(6, 2), 1);
  header.height = std::max<std::int64_t>(file.little(8, 2), 1);
  return header;
}

ImageHeader read_webp(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::webp;
  const std::size_t riff_size = file.little(4, 4);
  if (!file.has(8, riff_size)) throw file.truncated();
  if (file.starts_with(12, "VP8X", 4)) {
    header.animated = file.little(20, 1) & 2;
    header.width = file.little(24, 3) + 1;
    header.height = file.little(27, 3) + 1;
  } else if (file.starts_with(12, "VP8L", 4)) {
    const std::uint32_t bits = file.little(21, 4);
    header.width = (bits & 0x3fff) + 1;
    header.height = (bits >> 14 & 0x3fff) + 1;
  } else {
    header.width = file.little(26, 2) & 0x3fff;
    header.height = file.little(28, 2) & 0x3fff;
  }
  return header;
}

/// TIFF 6.0, and BigTIFF with its wider numbers: width and height are entries 256 and 257 of the
/// first directory.
ImageHeader read_tiff(const Bytes& file) {
  ImageHeader header;
  header.format = ImageFormat::tiff;
  const bool big_endian = *file.at(0) == 'M';
  const bool wide = file.number(2, 2, big_endian) == 43;
  const std::uint64_t directory = file.wide_number(wide ? 8 : 4, wide ? 8 : 4, big_endian);
  if (directory >= file.size()) throw file.truncated();
  std::size_t entry = static_cast<std::size_t>(directory);
  const std::uint64_t entries = file.wide_number(entry, wide ? 8 : 2, big_endian);
  entry += wide ? 8 : 2;
  const std::size_t entry_bytes = wide ? 20 : 12;
  for (std::uint64_t i = 0; i < entries; ++i, entry += entry_bytes) {
    const std::uint32_t tag = file.number(entry, 2, big_endian);
    const std::uint32_t type = file.number(entry + 2, 2, big_endian);
    if (tag != 256 && tag != 257) continue;
    const std::int64_t value =
        file.number(entry + entry_bytes - (wide ? 8 : 4), type == 3 ? 2 : 4, big_endian);
    (tag == 256 ? header.width : header.height) = value;
  }
  return header;
}

/// What a file is that people have for a picture and that is not read here; null where nobody
/// knows.
const char* foreign_kind(const Bytes& file) {
  if (file.starts_with(4, "ftypavi", 7)) return "AVIF";
  for (const char* brand : {"heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"})
    if (file.starts_with(4, "ftyp", 4) && file.starts_with(8, brand, 4)) return "HEIC";
  if (file.starts_with(0, "\0\0\0\x0cJXL ", 8) || file.starts_with(0, "\xff\x0a", 2))
    return "JPEG XL";
  if (file.starts_with(0, "\0\0\0\x0cjP  ", 8) || file.starts_with(0, "\xff\x4f\xff\x51", 4))
    return "JPEG 2000";
  if (file.starts_with(0, "8BPS", 4)) return "Photoshop";
  return nullptr;
}

std::optional<ImageHeader> recognise(const Bytes& file) {
  if (file.starts_with(0, "\xff\xd8\xff", 3)) return walk_jpeg(file);
  if (file.starts_with(0, "\x89PNG\r\n\x1a\n", 8)) return walk_png(file);
  if (file.starts_with(0, "BM", 2)) return read_bmp(file);
  if (file.starts_with(0, "RIFF", 4) && file.starts_with(8, "WEBP", 4)) return read_webp(file);
  for (const char* start : {"II*\0", "MM\0*", "II+\0", "MM\0+"})
    if (file.starts_with(0, start, 4)) return read_tiff(file);
  if (file.starts_with(0, "GIF8", 4)) return read_gif(file);
  if (file.has(0, 3) && *file.at(0) == 'P' && *file.at(1) >= '1' && *file.at(1) <= '6' &&
      std::isspace(*file.at(2)))
    return read_pnm(file);
  return std::nullopt;
}

}  // namespace

ImageHeader read_image_header(const unsigned char* bytes, std::size_t size,
                              const std::string& name) {
  const Bytes file(bytes, size, name);
  if (size == 0) throw unreadable(name, "the file is empty");
  if (const char* kind = foreign_kind(file))
    throw unreadable(name, std::string(kind) + " is not supported; convert it to PNG or JPEG");
  if (file.starts_with(0, "version https://git-lfs", 23))
    throw unreadable(name, "it is a Git LFS pointer, not the picture; fetch it with git lfs pull");
  const auto header = recognise(file);
  if (!header)
    throw unreadable(name,
                     "not a JPEG, PNG, GIF, BMP, PNM, WebP or TIFF image, whatever its name says");
  check_image_size(header->width, header->height, name);
  return *header;
}

Error unreadable_image(const std::string& name, const std::string& why) {
  return input_error("cannot read image " + name + ": " + why);
}

void check_image_size(std::int64_t width, std::int64_t height, const std::string& name) {
  if (width <= 0 || height <= 0)
    throw unreadable(name, "its size is " + std::to_string(width) + "x" + std::to_string(height));
  if (width > kMaxPixels / height)
    throw unreadable(name, std::to_string(width) + "x" + std::to_string(height) + " is more than " +
                               std::to_string(kMaxPixels) + " pixels");
}

}  // namespace linex
