// Clarity and twins of units (docs/methods.md §5.4).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "linex/data.hpp"

namespace linex_clarity {

/// Weighted mean cosine of all pairs of rows, one value a unit: activations float32 (n, K),
/// embeddings float32 (n, E) of unit length. NaN for a unit that does not vary. Same values for any
/// number of threads.
std::vector<double> clarity(const torch::Tensor& activations, const torch::Tensor& embeddings,
                            int threads);
/// Mean cosine of all pairs of rows; NaN for fewer than two.
double mean_cosine(const torch::Tensor& embeddings);

struct Twin {
  std::int64_t index = -1;  ///< position of the twin; -1: there is none
  double correlation = linex::kNone, cosine = linex::kNone;
};
/// The twin of each explanation among the others. activations float32 (n, K): column i is that of
/// explanations[i]. A unit that does not vary or has no explanation neither has nor is one.
std::vector<Twin> twins(const torch::Tensor& activations,
                        const std::vector<linex::Explanation>& explanations,
                        std::int64_t memory_bytes, int threads);

}  // namespace linex_clarity
