// Files of explanations: our explanations.csv (docs/methods.md §1.7) and the published layouts.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "toolkit/base/csv.hpp"

namespace linex {

/// A file of explanations: ours or a published one.
struct ExplanationFile {
  std::vector<Explanation> explanations;
  std::vector<std::string> layers;  ///< one an explanation; "" where the file names none
  std::vector<ScoreColumn> scores;  ///< score columns found in the file, in its order
  /// ScoreColumn::sanity by layer and score, where it was tested; not part of the file.
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> sanity = {};
};

/// Writes `layer,unit,val correlation,weight0,concept0,…,bias`, the score columns and a last column
/// `status`; RFC 4180 quoting, unused slots empty. A text stands as concept0 with weight 1. Before
/// `bias`, where any explanation has one, its `link` (toolkit/math/link.hpp). Atomic.
void write_explanations(const std::filesystem::path& path, const ExplanationFile& file);

/// How a file says what a unit stands for.
enum class ExplanationLayout {
  linear,  ///< LE: weight0,concept0,…,bias; columns `layer` and `val correlation` may be missing
  description,  ///< CLIP-Dissect, MILAN, cleaned baselines: [layer,]unit,description[,similarity]
  tally         ///< Network Dissection's tally.csv: unit from 1, category, label, score, …
};

struct ReadOptions {
  bool repair_text = true;  ///< undo mojibake in concepts (toolkit/base/mojibake.hpp)
};

/// A file as it stands and what it means.
struct ExplanationTable {
  ExplanationLayout layout = ExplanationLayout::linear;
  CsvTable table;  ///< every cell as in the file, numbers included
  ExplanationFile content;
};

/// Reads files of write_explanations and the published ones. Their peculiarities (docs/methods.md
/// §1.16): unused slots hold weight 0 and concept "0", or nothing; a concept really called "0" has
/// a weight; "nan", "null" and "none" are words; "-" is a score not computed yet; bytes that are
/// not UTF-8 are Windows-1252. A tally's units become 0-based and its labels plain words
/// (toolkit/explanations/broden_label.hpp); a description becomes one concept of weight 1. Score
/// columns are `sim …`, `similarity` and a tally's `score`. Throws Error(input) naming file, record
/// and column.
ExplanationTable read_explanation_table(const std::filesystem::path& path,
                                        const ReadOptions& options = {});
/// The meaning alone.
ExplanationFile read_explanations(const std::filesystem::path& path,
                                  const ReadOptions& options = {});

/// Writes a table in its own layout, columns in its order. `scores` replace columns of their name
/// or follow as new ones; a cell whose value they do not change keeps its text, so that reading and
/// writing a published file gives its bytes. Atomic.
void write_in_layout(const std::filesystem::path& path, const ExplanationTable& file,
                     const std::vector<ScoreColumn>& scores);

}  // namespace linex
