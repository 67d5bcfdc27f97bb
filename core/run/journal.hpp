// What makes a killed run resumable: finished explanations, appended block by block.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex {

/// An append-only file of finished blocks beside explanations.csv. Each block is one line of JSON
/// with its own digest, synced before append() returns; a half-written last line is dropped when
/// the file is opened again.
class Journal {
 public:
  /// Opens `path`. Blocks of an earlier run are kept only where `resume` and `key` (a digest of
  /// everything that determines the result) is the one they were written with.
  Journal(std::filesystem::path path, const std::string& key, bool resume);
  /// Explanations of the blocks found.
  const std::vector<Explanation>& finished() const { return finished_; }
  void append(const std::vector<Explanation>& block);
  /// The result is safe elsewhere: removes the file.
  void remove();

 private:
  std::filesystem::path path_;
  std::vector<Explanation> finished_;
};

}  // namespace linex
