#include "toolkit/data/tar.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

constexpr std::int64_t kBlock = 512;
/// What is read at once: headers of small files come together, large files are jumped over.
constexpr std::int64_t kChunk = 16 * kBlock;
/// Of a name or a set of PAX records.
constexpr std::int64_t kMostMeta = std::int64_t{1} << 20;
/// Archives are padded to full records of 20 blocks.
constexpr std::int64_t kRecord = 20 * kBlock;

std::string text_of(const unsigned char* field, std::size_t size) {
  const auto* begin = reinterpret_cast<const char*>(field);
  return {begin, ::strnlen(begin, size)};
}

/// -1 where it is none: octal digits, or base 256 after a first bit of one.
std::int64_t number_of(const unsigned char* field, std::size_t size) {
  if (field[0] & 0x80) {
    if (field[0] != 0x80) return -1;
    std::int64_t value = 0;
    for (std::size_t i = 1; i < size; ++i) {
      if (value > (std::numeric_limits<std::int64_t>::max() >> 8)) return -1;
      value = value << 8 | field[i];
    }
    return value;
  }
  const std::string digits = trim(text_of(field, size));
  std::int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, failure] = std::from_chars(digits.data(), end, value, 8);
  return digits.empty() ? 0 : failure == std::errc() && stop == end && value >= 0 ? value : -1;
}

/// "gzip" for the first bytes of a file that it made, or "".
std::string compressor_of(const unsigned char* bytes) {
  const auto begins = [&](const char* magic, std::size_t size) {
    return std::memcmp(bytes, magic, size) == 0;
  };
  if (begins("\x1f\x8b", 2)) return "gzip";
  if (begins("BZh", 3)) return "bzip2";
  if (begins("\xfd"
             "7zXZ",
             5))
    return "xz";
  return begins("\x28\xb5\x2f\xfd", 4) ? "zstd" : "";
}

std::string kind_of(char type) {
  switch (type) {
    case '1':
      return "a hard link";
    case '2':
      return "a symbolic link";
    case '3':
    case '4':
      return "a device";
    case '6':
      return "a pipe";
    case 'S':
      return "a sparse file";
    case 'M':
      return "the rest of a file in another volume";
    default:
      return std::string("of the unknown type '") + printable(std::string(1, type)) + "'";
  }
}

}  // namespace

struct TarReader::Header {
  std::string name;
  std::int64_t size = 0;
  char type = '0';
};

TarReader::TarReader(std::filesystem::path path) : path_(std::move(path)) {
  file_.fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  if (file_.fd < 0 || ::fstat(file_.fd, &status) != 0) fail(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail("not a regular file");
  size_ = status.st_size;
  if (size_ < kBlock) fail("it is shorter than a block of a tar archive");
  const unsigned char* start = view(0, kBlock);
  if (const std::string compressor = compressor_of(start); !compressor.empty())
    fail("it is compressed with " + compressor +
         "; unpack it to a plain .tar, whose images are read where they lie");
}

TarReader::Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

void TarReader::fail(const std::string& what) const {
  throw input_error("cannot read " + path_.string() + ": " + what);
}

const unsigned char* TarReader::view(std::int64_t offset, std::int64_t size) {
  if (offset < buffer_offset_ || offset + size > buffer_offset_ + buffered_) {
    const std::int64_t count = std::min(std::max(size, kChunk), size_ - offset);
    buffer_.resize(static_cast<std::size_t>(std::max(count, size)));
    buffer_offset_ = offset;
    buffered_ = 0;
    while (buffered_ < count) {
      const auto got = ::pread(file_.fd, buffer_.data() + buffered_,
                               static_cast<std::size_t>(count - buffered_), offset + buffered_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::strerror(errno));
      if (got == 0) fail("it became shorter while it was read");
      buffered_ += got;
    }
  }
  return buffer_.data() + (offset - buffer_offset_);
}

std::string TarReader::content_of(std::int64_t offset, std::int64_t size) {
  if (size == 0) return "";
  return {reinterpret_cast<const char*>(view(offset, size)), static_cast<std::size_t>(size)};
}

bool TarReader::read_header(Header& header) {
  if (position_ == size_) return false;  // some writers leave the closing blocks out
  header_ = position_;
  const std::string place = "the header at byte " + std::to_string(header_);
  if (size_ - position_ < kBlock) fail(place + " is cut off; the archive is not complete");
  const unsigned char* block = view(position_, kBlock);
  position_ += kBlock;
  if (std::all_of(block, block + kBlock, [](unsigned char c) { return c == 0; })) {
    unread_ = size_ - position_ > kRecord ? size_ - position_ : 0;
    position_ = size_;
    return false;
  }
  std::int64_t sum = 0, signed_sum = 0;
  for (std::int64_t i = 0; i < kBlock; ++i) {
    const unsigned char c = i >= 148 && i < 156 ? ' ' : block[i];
    sum += c;
    signed_sum += static_cast<signed char>(c);
  }
  const std::int64_t expected = number_of(block + 148, 8);
  if (expected != sum && expected != signed_sum)
    fail(header_ == 0 ? "it is no tar archive" : place + " is damaged: its checksum does not fit");
  header.type = static_cast<char>(block[156]);
  header.name = text_of(block, 100);
  if (std::memcmp(block + 257, "ustar\0", 6) == 0)
    if (const std::string prefix = text_of(block + 345, 155); !prefix.empty())
      header.name = prefix + "/" + header.name;
  header.size = number_of(block + 124, 12);
  if (header.size < 0) fail(place + " is damaged: its size is no number");
  return true;
}

std::string TarReader::meta_content(const Header& header) {
  if (header.size > kMostMeta || header.size > size_ - position_)
    fail("the extended header at byte " + std::to_string(header_) + " says it has " +
         std::to_string(header.size) + " bytes, more than " +
         (header.size > kMostMeta ? "a name can need" : "the archive holds"));
  std::string content = content_of(position_, header.size);
  position_ = std::min(size_, position_ + (header.size + kBlock - 1) / kBlock * kBlock);
  return content;
}

void TarReader::apply_pax(const std::string& records) {
  const auto damaged = [&] {
    fail("the extended header at byte " + std::to_string(header_) +
         " is damaged: it is no list of 'LENGTH KEY=VALUE'");
  };
  for (std::size_t begin = 0; begin < records.size();) {
    std::size_t length = 0;
    const char* start = records.data() + begin;
    const auto [stop, failure] = std::from_chars(start, records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(stop - start);
    if (failure != std::errc() || length > records.size() - begin || length < digits + 2 ||
        *stop != ' ' || start[length - 1] != '\n')
      damaged();
    const std::string record(stop + 1, length - digits - 2);
    begin += length;
    const auto equals = record.find('=');
    if (equals == std::string::npos) damaged();
    const std::string key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") long_name_ = value;
    if (key.compare(0, 11, "GNU.sparse.") == 0) fail("an entry is " + kind_of('S'));
    if (key != "size") continue;
    const char* end = value.data() + value.size();
    const auto [last, wrong] = std::from_chars(value.data(), end, long_size_);
    if (wrong != std::errc() || last != end || long_size_ < 0) damaged();
  }
}

bool TarReader::next(TarEntry& entry) {
  Header header;
  while (read_header(header)) {
    if (header.type == 'L' || header.type == 'K') {
      const std::string name = meta_content(header);
      if (header.type == 'L') long_name_ = name.c_str();
      continue;
    }
    if (header.type == 'x' || header.type == 'g') {
      const std::string records = meta_content(header);
      if (header.type == 'x') apply_pax(records);
      continue;
    }
    std::string name = long_name_.empty() ? header.name : long_name_;
    const std::int64_t size = long_size_ >= 0 ? long_size_ : header.size;
    long_name_.clear();
    long_size_ = -1;
    const std::string what = "the entry '" + printable(name) + "'";
    const bool file = header.type == '0' || header.type == '\0' || header.type == '7';
    const bool folder = header.type == '5' || (file && !name.empty() && name.back() == '/');
    if (header.type == 'V') continue;  // the archive's label
    if (!file && !folder) fail(what + " is " + kind_of(header.type) + "; archive files alone");
    const std::int64_t content = folder ? 0 : size;
    if (content > size_ - position_)
      fail(what + " says it has " + std::to_string(content) + " bytes, the archive has " +
           std::to_string(size_ - position_) + " more; it is damaged or not complete");
    const std::int64_t offset = position_;
    position_ = std::min(size_, position_ + (content + kBlock - 1) / kBlock * kBlock);
    if (folder) continue;
    while (name.compare(0, 2, "./") == 0) name.erase(0, 2);
    const auto parts = split(name, '/');
    if (name.empty() || name.front() == '/' ||
        std::find(parts.begin(), parts.end(), "..") != parts.end())
      fail(what + " is not a name within a folder; archive files by relative names without '..'");
    if (std::any_of(name.begin(), name.end(),
                    [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      fail(what + " has control characters in its name");
    entry = {std::move(name), offset, content};
    return true;
  }
  return false;
}

std::string TarReader::read(const TarEntry& entry, std::int64_t most) {
  if (entry.size > most)
    fail("the entry '" + printable(entry.name) + "' has " + std::to_string(entry.size) +
         " bytes, more than the " + std::to_string(most) + " that such a file can need");
  return content_of(entry.offset, entry.size);
}

}  // namespace linex
