// Concept lists: one concept a line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "linex/context.hpp"

namespace linex {

struct ConceptList {
  std::vector<std::string> concepts;  ///< as written, without blank lines; names may repeat
  std::int64_t blank_lines = 0;       ///< left out
  std::int64_t duplicates = 0;        ///< concepts that stand further up already; kept
  std::string first_duplicate;
};

/// Reads a UTF-8 list with any line ends. Throws Error(input) for a file without a concept or with
/// a line that is not UTF-8.
ConceptList read_concept_list(const std::filesystem::path& file);

/// One warning where the list has blank lines or duplicates.
void report(const ConceptList& list, const std::filesystem::path& file, Logger& log);

}  // namespace linex
