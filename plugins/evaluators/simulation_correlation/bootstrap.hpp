// Bootstrap confidence intervals of correlations, many units at once.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "toolkit/base/stats.hpp"

namespace linex {

/// 95 % percentile intervals of the Pearson correlation of matching columns of two float32 (n, K)
/// matrices, over `resamples` draws of n rows with replacement. All columns share the draws, which
/// makes it one matrix product: draws are rows of counts, and sums under a draw are counts times
/// (x, y, xy, x², y²). NaN ends where a column does not vary. Seeded; 64-bit sums; the
/// same whatever `threads` is.
std::vector<Interval> bootstrap_pearson(const torch::Tensor& x, const torch::Tensor& y,
                                        std::int64_t resamples, std::uint64_t seed, int threads);

}  // namespace linex
