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

/// A file that is there whole or not at all: written under a temporary name beside `path`.
/// Everything throws Error(input) "cannot write PATH: why".
class AtomicFile {
 public:
  /// Not `durable`: without syncing, for what lives no longer than the run.
  explicit AtomicFile(std::filesystem::path path, bool durable = true);
  /// Without finish() nothing is left behind.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void append(const void* bytes, std::size_t size);
  /// Syncs the file, renames it over `path`, syncs the folder. Who has mapped the former file keeps
  /// it.
  void finish();

 private:
  std::filesystem::path path_, temporary_;
  bool durable_;
  int fd_ = -1;
};

/// Removes temporary files in `folder` of processes that were killed while they wrote an
/// AtomicFile. Only where no other process writes now. Never throws for a file that cannot be
/// removed.
void remove_leftovers(const std::filesystem::path& folder);

/// Makes `folder`, in which no other process writes now, and does remove_leftovers(). Throws
/// Error(input) "cannot make the folder PATH: why".
void make_own_folder(const std::filesystem::path& folder);

/// The whole of an AtomicFile at once.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// Adds `text` to the end of a file, made where missing, and syncs it. After an Error(input) the
/// file may hold a part of it.
void append_durably(const std::filesystem::path& path, std::string_view text);

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
/// Of a file's content. One of at least 1 MiB that was read before, and whose inode, size and times
/// are still the same and older than two seconds, is not read again. [any thread]
std::string sha256_of_file(const std::filesystem::path& path);
/// "FILE" or "FILE:NAME", an array in a file of several (checkpoint/arrays.hpp).
struct Place {
  std::filesystem::path file;
  std::string name;  ///< in it; "": the only one
};
/// The first form where such a file exists, or no file exists before the last colon.
Place split_place(const std::string& text);
/// Digest of the contents of files and of whole folders (relative names and contents), in the order
/// given; not of the paths themselves, apart from the name in FILE:NAME. Empty paths count as
/// "none". For ConceptLabeler::fingerprint() and for keys. Throws Error(input) for one that cannot
/// be read.
std::string sha256_of_paths(const std::vector<std::filesystem::path>& paths, int threads = 1);

}  // namespace linex
