// explanations.csv: the published layout (reference.md §1.7), written and read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex {

/// A file of explanations: ours or a published one.
struct ExplanationFile {
  std::vector<Explanation> explanations;
  std::vector<std::string> layers;  ///< one an explanation; "" where the file names none
  std::vector<ScoreColumn> scores;  ///< score columns found in the file, in its order
};

/// Writes `layer,unit,val correlation,weight0,concept0,…,bias`, the score columns and a last column
/// `status`; RFC 4180 quoting, unused slots empty. A text stands as concept0 with weight 1. Atomic.
void write_explanations(const std::filesystem::path& path, const ExplanationFile& file);

/// Reads files written by write_explanations and the published ones: unused slots may hold weight 0
/// and concept "0"; the `layer` column may be missing; `unit,description` files become one-concept
/// explanations. Throws Error(input) naming file, record and column.
ExplanationFile read_explanations(const std::filesystem::path& path);

}  // namespace linex
