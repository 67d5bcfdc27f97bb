// Files: durable atomic writes, bounded reads, digests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

/// Whole content of a regular file. Throws Error(input) when missing, unreadable or over
/// `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = 1ULL << 31);

/// Writes to a temporary name beside `path`, syncs file and folder, renames over it.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// A read-only view of a file's bytes. Throws Error(input) like read_file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  /// Private (copy-on-write) pages: writing to them never reaches the file.
  unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
};

/// SHA-256 over everything added; for content keys and provenance.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256& add(const void* bytes, std::size_t size);
  /// Adds length and bytes, so that ("ab","c") and ("a","bc") differ.
  Sha256& add(std::string_view text);
  std::string hex();  ///< 64 lower-case digits; ends the digest

 private:
  struct State;
  std::unique_ptr<State> state_;
};
std::string sha256_of_file(const std::filesystem::path& path);
/// Digest of the contents of files and of whole folders (relative names and contents), in the order
/// given; not of the paths themselves. Empty paths count as "none". For
/// ConceptLabeler::fingerprint() and for keys. Throws Error(input) for one that cannot be read.
std::string sha256_of_paths(const std::vector<std::filesystem::path>& paths, int threads = 1);

}  // namespace linex
