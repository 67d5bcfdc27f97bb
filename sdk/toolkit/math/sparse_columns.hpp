// A tile of activations that is mostly zeros, as latents of sparse autoencoders leave it.
#pragma once

#include <cstdint>
#include <vector>

namespace linex {

/// The values of a tile that are not zero, column by column, each column's rows ascending.
struct SparseColumns {
  std::vector<std::int64_t> begin;  ///< of each column in row and value; one more than columns
  std::vector<std::int32_t> row;
  std::vector<float> value;
};

/// Whether at most a sixteenth of n values are not zero: products are then cheaper by value.
bool mostly_zeros(const float* values, std::int64_t n, int threads);

/// Of (rows × cols) values, row-major. Does not depend on `threads`.
SparseColumns sparse_columns(const float* values, std::int64_t rows, std::int64_t cols,
                             int threads);

}  // namespace linex
