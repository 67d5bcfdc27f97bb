#include "toolkit/checkpoint/zip.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

// APPNOTE.TXT 6.3: signatures and fixed sizes of the records.
constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;
constexpr std::size_t kLocalSize = 30;
constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kEndSize = 22;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kLocatorSize = 20;
constexpr std::size_t kMaxComment = 65535;
constexpr std::uint16_t kDeflate = 8;

/// Little-endian numbers of a byte range; reading outside it throws.
class Bytes {
 public:
  Bytes(const unsigned char* data, std::size_t size, const std::string& source)
      : data_(data), size_(size), source_(source) {}

  template <class T>
  T number(std::uint64_t at) const {
    need(at, sizeof(T));
    T value;
    std::memcpy(&value, data_ + at, sizeof(T));
    return value;
  }
  const unsigned char* range(std::uint64_t at, std::uint64_t count) const {
    need(at, count);
    return data_ + at;
  }
  [[noreturn]] void damaged(const char* what) const {
    throw input_error(source_ + ": damaged zip archive (" + what +
                      "); the file is truncated or was not written completely, fetch it again");
  }

 private:
  void need(std::uint64_t at, std::uint64_t count) const {
    if (at > size_ || count > size_ - at) damaged("a record lies outside the file");
  }
  const unsigned char* data_;
  std::size_t size_;
  const std::string& source_;
};

struct Directory {
  std::uint64_t offset = 0, count = 0;
};

Directory find_directory(const Bytes& bytes, std::size_t size) {
  if (size < kEndSize) bytes.damaged("no end record");
  const std::size_t first = size - std::min(size, kEndSize + kMaxComment);
  std::size_t end = size - kEndSize;
  while (bytes.number<std::uint32_t>(end) != kEnd) {
    if (end == first) bytes.damaged("no end record");
    --end;
  }
  Directory directory{bytes.number<std::uint32_t>(end + 16), bytes.number<std::uint16_t>(end + 10)};
  if (end >= kLocatorSize && bytes.number<std::uint32_t>(end - kLocatorSize) == kEnd64Locator) {
    const auto at = bytes.number<std::uint64_t>(end - kLocatorSize + 8);
    bytes.range(at, kEnd64Size);
    if (bytes.number<std::uint32_t>(at) != kEnd64) bytes.damaged("no zip64 end record");
    directory = {bytes.number<std::uint64_t>(at + 48), bytes.number<std::uint64_t>(at + 32)};
  }
  if (directory.count > size / kCentralSize) bytes.damaged("more entries than bytes");
  return directory;
}

}  // namespace

ZipArchive::ZipArchive(const unsigned char* data, std::size_t size, const std::string& source) {
  const Bytes bytes(data, size, source);
  const Directory directory = find_directory(bytes, size);
  std::uint64_t at = directory.offset, total = 0;
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    bytes.range(at, kCentralSize);
    if (bytes.number<std::uint32_t>(at) != kCentralHeader) bytes.damaged("bad directory entry");
    const auto method = bytes.number<std::uint16_t>(at + 10);
    const auto name_size = bytes.number<std::uint16_t>(at + 28);
    const auto extra_size = bytes.number<std::uint16_t>(at + 30);
    const auto comment_size = bytes.number<std::uint16_t>(at + 32);
    std::uint64_t packed = bytes.number<std::uint32_t>(at + 20);
    std::uint64_t unpacked = bytes.number<std::uint32_t>(at + 24);
    std::uint64_t local = bytes.number<std::uint32_t>(at + 42);

    // The zip64 extra field holds, in this order, just the values that did not fit.
    std::uint64_t extra = at + kCentralSize + name_size;
    const std::uint64_t extra_end = extra + extra_size;
    bytes.range(extra, extra_size);
    while (extra + 4 <= extra_end) {
      const auto id = bytes.number<std::uint16_t>(extra);
      const auto length = bytes.number<std::uint16_t>(extra + 2);
      std::uint64_t field = extra + 4;
      extra = field + length;
      if (extra > extra_end) bytes.damaged("bad extra field");
      if (id != 1) continue;
      for (std::uint64_t* value : {&unpacked, &packed, &local}) {
        if (*value != 0xffffffffu) continue;
        if (field + 8 > extra) bytes.damaged("bad zip64 field");
        *value = bytes.number<std::uint64_t>(field);
        field += 8;
      }
    }

    Entry entry;
    entry.name.assign(reinterpret_cast<const char*>(bytes.range(at + kCentralSize, name_size)),
                      name_size);
    entry.stored = method == 0;
    entry.deflated = method == kDeflate;
    entry.unpacked = unpacked;
    bytes.range(local, kLocalSize);
    if (bytes.number<std::uint32_t>(local) != kLocalHeader) bytes.damaged("bad local header");
    const std::uint64_t content = local + kLocalSize + bytes.number<std::uint16_t>(local + 26) +
                                  bytes.number<std::uint16_t>(local + 28);
    if (entry.stored && packed != unpacked) bytes.damaged("sizes of a stored entry differ");
    entry.data = bytes.range(content, packed);
    entry.size = packed;
    // Entries that share bytes are how a small archive becomes a large one.
    total += packed;
    if (total > size) bytes.damaged("entries overlap");
    entries_.push_back(std::move(entry));
    at += kCentralSize + name_size + extra_size + comment_size;
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
}

const ZipArchive::Entry* ZipArchive::find(const std::string& name) const {
  const auto found =
      std::lower_bound(entries_.begin(), entries_.end(), name,
                       [](const Entry& entry, const std::string& key) { return entry.name < key; });
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

std::string inflate(const ZipArchive::Entry& entry, MemoryBudget& budget,
                    const std::string& source) {
  const auto damaged = [&] {
    return input_error(source + ": damaged zip archive (entry '" + printable(entry.name) +
                       "' does not unpack); fetch it again");
  };
  if (!entry.deflated || entry.unpacked > std::numeric_limits<uInt>::max() ||
      entry.size > std::numeric_limits<uInt>::max())
    throw input_error(source + ": entry '" + printable(entry.name) +
                      "' is compressed in a way linex does not read; save it uncompressed");
  budget.take(entry.unpacked);
  std::string content(entry.unpacked, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw input_error(source + ": zlib failed");
  stream.next_in = const_cast<Bytef*>(entry.data);
  stream.avail_in = static_cast<uInt>(entry.size);
  stream.next_out = reinterpret_cast<Bytef*>(content.data());
  stream.avail_out = static_cast<uInt>(content.size());
  const int status = ::inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!whole) throw damaged();
  return content;
}

}  // namespace linex
