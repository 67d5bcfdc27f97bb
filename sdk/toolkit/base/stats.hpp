// Statistics every table of linex uses.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace linex {

/// Mean over the finite values, with its standard error (unbiased std / √n) and how many they are.
struct MeanSem {
  double mean;  ///< NaN where n = 0
  double sem;   ///< NaN where n < 2
  std::int64_t n;
};
MeanSem mean_sem(const std::vector<double>& values);

/// Pearson correlation of matching columns of two float32 (n, K) matrices, accumulated in 64 bit
/// around each column's mean. NaN where a column is constant or holds a value that is not finite.
std::vector<double> pearson_columns(const torch::Tensor& x, const torch::Tensor& y);

/// 95 % interval of a correlation over n rows by Fisher's z; NaN ends where it is not defined.
struct Interval {
  double low, high;
};
Interval fisher_interval(double correlation, std::int64_t n);

}  // namespace linex
