// Functions of the concepts that compete for a unit's ceiling, and their correlations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex {

/// For every unit, of all functions offered the one that correlates best on the validation rows.
/// The test rows never choose.
struct Candidates {
  explicit Candidates(std::int64_t units)
      : val(static_cast<std::size_t>(units), kNone),
        test(static_cast<std::size_t>(units), kNone),
        by(static_cast<std::size_t>(units)) {}

  /// A function named `name` for unit `k`, by its correlations. One that does not correlate
  /// positively on the validation rows, or less than what is there, changes nothing.
  void offer(std::size_t k, double val_correlation, double test_correlation, const char* name) {
    if (!(val_correlation > 0) || val_correlation <= val[k]) return;
    val[k] = val_correlation;
    test[k] = test_correlation;
    by[k] = name;
  }

  std::vector<double> val, test;  ///< Pearson's correlation; kNone where nothing was taken
  std::vector<std::string> by;    ///< name of what was taken, or ""
};

/// Pearson's correlation of predictions and activations, column by column, over rows that come in
/// blocks. Values are relative to something near their mean; sums are float64.
class ColumnCorrelation {
 public:
  explicit ColumnCorrelation(std::int64_t units) : sums_(static_cast<std::size_t>(units)) {}
  /// `rows` rows of both, row-major, one column a unit.
  void add(const double* predicted, const double* actual, std::int64_t rows);
  /// NaN where either side is constant.
  double of(std::size_t unit) const;

 private:
  struct Sums {
    double p = 0, pp = 0, a = 0, aa = 0, pa = 0;
  };
  std::vector<Sums> sums_;
  double rows_ = 0;
};

}  // namespace linex
