// Reads a tar archive in place: where each file in it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace linex {

/// A regular file within an archive.
struct TarEntry {
  std::string name;  ///< with slashes, no "./" before, no ".." and no control characters in it
  std::int64_t offset = 0, size = 0;  ///< of its content; it ends within the archive
};

/// The entries of an archive, in order: ustar, old (V7), GNU (long names, base-256 sizes) and PAX
/// (path, size) headers. Links, devices, sparse files, names that leave the folder, headers whose
/// checksum does not fit and sizes beyond the archive throw Error(input) with archive, place and
/// remedy.
class TarReader {
 public:
  explicit TarReader(std::filesystem::path path);

  /// The next regular file; folders are passed over. False at the end.
  bool next(TarEntry& entry);
  /// Content of an entry of at most `most` bytes; Error(input) for a larger one.
  std::string read(const TarEntry& entry, std::int64_t most);
  /// Bytes behind the end that the archive says of itself: another archive appended to it.
  std::int64_t unread() const { return unread_; }

 private:
  struct Header;
  /// False at the end of the archive.
  bool read_header(Header& header);
  /// Bytes [offset, offset + size), which lie within the file.
  const unsigned char* view(std::int64_t offset, std::int64_t size);
  std::string content_of(std::int64_t offset, std::int64_t size);
  std::string meta_content(const Header& header);
  void apply_pax(const std::string& records);
  [[noreturn]] void fail(const std::string& what) const;

  struct Descriptor {
    Descriptor() = default;
    ~Descriptor();
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int fd = -1;
  };

  std::filesystem::path path_;
  Descriptor file_;
  std::int64_t size_ = 0, position_ = 0, header_ = 0, unread_ = 0;
  std::vector<unsigned char> buffer_;
  std::int64_t buffer_offset_ = 0, buffered_ = 0;
  // What extended headers say of the entry that follows.
  std::string long_name_;
  std::int64_t long_size_ = -1;
};

}  // namespace linex
