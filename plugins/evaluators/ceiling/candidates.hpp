// Functions of the concepts that compete for a unit's ceiling, and their correlations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linex/data.hpp"

namespace linex {

/// What a function of the concepts reaches for a unit: Pearson's correlations.
struct Reached {
  double left_out = kNone;  ///< on training rows, each predicted without itself
  double val = kNone;
  double test = kNone;
};

/// For every unit, of all functions offered the one that explains the largest share of the squared
/// deviations of left-out training rows and validation rows together, r² of each by its own sum of
/// squares: a mean of the two correlations would let validation rows on which a unit is silent
/// decide. The test rows never choose.
struct Candidates {
  /// Sums of squared deviations of each unit on the training and the validation rows.
  Candidates(std::vector<double> train_squares, std::vector<double> val_squares)
      : score(train_squares.size(), 0.0),
        test(train_squares.size(), kNone),
        by(train_squares.size()),
        train_squares_(std::move(train_squares)),
        val_squares_(std::move(val_squares)) {}

  /// A function named `name` for unit `k`. One that is not better than what is there, or than a
  /// constant, changes nothing.
  void offer(std::size_t k, const Reached& reached, const char* name) {
    const auto share = [](double r) { return r > 0 ? r * r : 0; };
    const double explained =
        train_squares_[k] * share(reached.left_out) + val_squares_[k] * share(reached.val);
    if (!(explained > score[k])) return;
    score[k] = explained;
    test[k] = reached.test;
    by[k] = name;
  }

  std::vector<double> score;
  std::vector<double> test;     ///< kNone where nothing was taken
  std::vector<std::string> by;  ///< name of what was taken, or ""

 private:
  std::vector<double> train_squares_, val_squares_;
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
