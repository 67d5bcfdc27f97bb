// Zip archives as torch.save writes them: stored entries, read in place.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace linex {

/// The directory of a zip archive over mapped bytes, zip64 included. Every offset and length is
/// checked against the file before use.
class ZipArchive {
 public:
  struct Entry {
    std::string name;
    const unsigned char* data = nullptr;  ///< into the bytes given to the constructor
    std::size_t size = 0;
    bool stored = true;  ///< false: compressed, data is not the content
  };

  /// Reads the central directory of `size` bytes at `bytes`, lent for the archive's life. Throws
  /// Error(input) beginning with `source` for a truncated or malformed archive.
  ZipArchive(const unsigned char* bytes, std::size_t size, const std::string& source);

  const std::vector<Entry>& entries() const { return entries_; }
  /// Entry of that name, or null.
  const Entry* find(const std::string& name) const;

 private:
  std::vector<Entry> entries_;  ///< sorted by name
};

}  // namespace linex
