// stability.csv: how often each concept of each explanation comes back, and between which weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "toolkit/math/regression.hpp"
#include "toolkit/math/search.hpp"
#include "toolkit/math/stability.hpp"

namespace linex {

/// The rows of one layer.
class StabilityTable {
 public:
  explicit StabilityTable(std::string layer) : layer_(std::move(layer)) {}

  /// Unit k of the regression, terms in the order of its explanation (weights descending).
  void add(const Regression& regression, std::int64_t k, const std::vector<std::string>& names,
           const Selection& selection, const UnitStability& stability);
  /// Mean over units that have terms; kNone where none has.
  double mean_jaccard() const;
  /// Columns layer,unit,term,frequency,weight low,weight high,weight. A file that is there keeps
  /// its rows of other layers. Atomic.
  void write(const std::filesystem::path& path) const;

 private:
  std::string layer_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<double> jaccard_;
};

}  // namespace linex
