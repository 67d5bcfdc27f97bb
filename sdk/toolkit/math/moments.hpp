// Sufficient statistics of presence and activations over one split: everything downstream of the
// matrices is a small dense problem in them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/math/column_stats.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {

struct MomentOptions {
  std::int64_t tile_rows = 4096;          ///< rows a tile; another where memory or cuts ask for it
  std::int64_t block = 1024;              ///< side of the blocks of a product
  std::int64_t memory_bytes = 1LL << 30;  ///< bound on the tiles, not on the results
  int threads = 1;
  std::string device = "cpu";  ///< "cuda:0" multiplies there, in float32 (TF32 stays off)
  bool gram = true;            ///< whether to compute Moments::gram
  /// Each rank reads its share of the rows, and all end with the same moments; null: all rows.
  const Cluster* cluster = nullptr;
};

/// Means and (co)variances over n rows, all divided by n (not n − 1).
///
/// Precision: products are float32 over one tile of values centred by the given shifts, sums over
/// tiles are float64. Against a float64 two-pass reference the error of gram(i, j) is below
/// 1e-5·√(gram(i, i)·gram(j, j)), of cross likewise, when the shifts are within a standard
/// deviation of the means, however large the means are. Where centred activations are mostly zeros
/// they are multiplied value by value in float64 (on the CPU). Products are cut by row at fixed
/// places and sums are exact (product_sum.hpp): no other tile_rows, memory, thread count or number
/// of ranks moves a bit.
struct Moments {
  std::int64_t rows = 0;
  std::vector<double> concept_mean;      ///< μ (C)
  std::vector<double> concept_variance;  ///< diagonal of gram, in float64 (C)
  std::vector<double> unit_mean;         ///< m (K)
  std::vector<double> unit_variance;     ///< v (K)
  torch::Tensor cross;                   ///< float64 (K, C): (A − m)ᵀ(P − μ)/n
  torch::Tensor gram;  ///< float32 (C, C): (P − μ)ᵀ(P − μ)/n, or undefined
};

/// What the moments are taken of. All lent; a reach is as long as its source is wide and holds for
/// the rows (around_mean() of column_stats() over them or more).
struct MomentInput {
  const RowSource& presence;
  const ColumnReach& presence_reach;
  const RowSource& activations;
  const ColumnReach& activation_reach;
};

/// Reads `rows` once. Throws Error(input) when there are none or a value is not finite,
/// std::logic_error where a column lies further from its shift than its reach.
Moments moments(const MomentInput& input, const Rows& rows, const MomentOptions& options,
                const Tick& tick = {});

/// The same from a 0/1 source whose rows have few ones: `ones(row)` gives their columns. Exact in
/// float64 but for the last of 52 bits. `reach` is that of the activations around_zero().
using OnesOf = std::function<void(std::int64_t row, std::vector<std::int64_t>& ones)>;
Moments sparse_moments(std::int64_t concepts, const OnesOf& ones, const RowSource& activations,
                       const ColumnReach& reach, const Rows& rows, const MomentOptions& options,
                       const Tick& tick = {});

/// Rows `wanted` of Moments::gram alone, float32 (wanted, C).
torch::Tensor gram_rows(const RowSource& presence, const ColumnReach& reach,
                        const std::vector<std::int64_t>& wanted, const Rows& rows,
                        const MomentOptions& options, const Tick& tick = {});

}  // namespace linex
