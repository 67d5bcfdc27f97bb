// Zip archives as torch.save and numpy.savez write them: stored entries are read in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/base/budget.hpp"

namespace linex {

/// The directory of a zip archive over mapped bytes, zip64 included. Every offset and length is
/// checked against the file before use.
class ZipArchive {
 public:
  struct Entry {
    std::string name;
    const unsigned char* data = nullptr;  ///< into the bytes given to the constructor
    std::size_t size = 0;
    bool stored = true;          ///< false: compressed, data is not the content
    bool deflated = false;       ///< compressed in the usual way
    std::uint64_t unpacked = 0;  ///< bytes of the content, as the archive says
  };

  /// Reads the central directory of `size` bytes at `bytes`, lent for the archive's life. Throws
  /// Error(input) beginning with `source` for a truncated or malformed archive, and for one whose
  /// entries share bytes.
  ZipArchive(const unsigned char* bytes, std::size_t size, const std::string& source);

  const std::vector<Entry>& entries() const { return entries_; }
  /// Entry of that name, or null.
  const Entry* find(const std::string& name) const;

 private:
  std::vector<Entry> entries_;  ///< sorted by name
};

/// Content of a deflated entry, paid from `budget` before it is unpacked. Throws Error(input)
/// beginning with `source` for damage or another compression.
std::string inflate(const ZipArchive::Entry& entry, MemoryBudget& budget,
                    const std::string& source);

}  // namespace linex
