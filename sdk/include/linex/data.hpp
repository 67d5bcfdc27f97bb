// The values that flow between stages: data sets, splits, explanations, scores.
#pragma once

#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "linex/export.hpp"

namespace linex {

/// No number here: "not computed" and "not defined" (a dead unit's correlation). Written as an
/// empty CSV cell and left out of every mean.
inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

using Rows = std::vector<std::int64_t>;

/// Disjoint, sorted row ids of the probing data. `train` fits, `val` selects, `test` scores.
struct Split {
  Rows train, val, test;
};

/// N images with optional labels. Row i of every matrix of a run is image i. [any thread]
class LINEX_API DataSet {
 public:
  virtual ~DataSet();
  virtual std::int64_t size() const = 0;
  /// Class names by label, empty where there are no classes.
  virtual const std::vector<std::string>& class_names() const = 0;
  /// One label a row in [0, class_names().size()), or empty.
  virtual const std::vector<std::int64_t>& labels() const = 0;
  /// What a person calls row `row` (its file path relative to the root).
  virtual std::string name(std::int64_t row) const = 0;
  /// Pixels as Pillow's convert("RGB") gives them: uint8 (H, W, 3), contiguous, owned by the
  /// caller. Throws Error(input) naming the file when it cannot be read.
  virtual torch::Tensor pixels(std::int64_t row) const = 0;
  /// Hex digest over every row's content and label; part of every cache key.
  virtual std::string fingerprint() const = 0;
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

/// A concept and its weight in an explanation.
struct Term {
  std::string concept_name;
  double weight = 0;  ///< activation units per unit of presence
};

/// How a unit came out. Anything but ok is left out of means and counted beside them.
enum class Status {
  ok,
  dead,             ///< activation is zero (or one constant) on every row
  constant,         ///< no variance within the training rows
  no_concept,       ///< no concept has a positive validation correlation
  not_converged,    ///< the solver stopped before its tolerance; terms are its best so far
  unknown_concept,  ///< (evaluation) the simulator does not know a concept of the explanation
  unknown_unit,     ///< (evaluation) the layer has no such unit
  empty             ///< (evaluation) an explanation without a term or a text
};
LINEX_API const char* to_string(Status status) noexcept;
/// Inverse of to_string; throws Error(input) for an unknown word.
LINEX_API Status status_from_string(const std::string& word);

/// What one unit stands for. One form serves a linear combination (several terms), a single concept
/// (one term, weight 1) and a sentence (`text`; simulators embed it as one concept).
struct Explanation {
  std::int64_t unit = 0;
  std::vector<Term> terms;  ///< weights descending (docs/methods.md §1.6)
  double bias = 0;
  std::string text;  ///< free text, empty for linear explanations
  Status status = Status::ok;
  double val_correlation = kNone;  ///< Pearson on the validation rows
  double objective = kNone;        ///< of the ranking fit, standardised units
  double duality_gap = kNone;      ///< same units as objective
  std::int64_t iterations = 0;     ///< coordinate sweeps or epochs
};

/// One named score for every explanation, in their order.
struct ScoreColumn {
  std::string name;  ///< CSV column, e.g. "sim correlation"
  bool higher_is_better = true;
  std::vector<double> value;      ///< kNone where not defined
  std::vector<Status> status;     ///< why not defined; ok elsewhere
  std::vector<double> low, high;  ///< confidence interval, or empty
  /// Whether the score can be trusted on this data, where that was tested: shares in [0, 1] of
  /// units whose score falls with spoiled concepts ("missing labels", "extra labels"), "reliable" 1
  /// or 0.
  std::map<std::string, double> sanity = {};
};

}  // namespace linex
