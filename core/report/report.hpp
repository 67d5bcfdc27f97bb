// report/index.html: a run as a page people look at.
#pragma once

#include <filesystem>

#include "core/pipeline/explanation_csv.hpp"
#include "core/pipeline/summary.hpp"

namespace linex {

/// "2.10·striped + 1.40·red - 0.30·sky + 0.50", or the text of a sentence; "" without either.
std::string in_words(const Explanation& explanation);

/// Writes `folder`/index.html: one self-contained page that opens from disk.
void write_report(const std::filesystem::path& folder, const ExplanationFile& file,
                  const RunSummary& summary);

}  // namespace linex
