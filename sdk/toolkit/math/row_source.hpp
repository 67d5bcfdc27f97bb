// One way to read tiles of presence and of activations.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/labeler.hpp"

namespace linex {

/// Rows of a float32 matrix, some of its columns. [any thread] for `read`.
struct RowSource {
  std::int64_t cols = 0;
  std::string name;  ///< for messages: "presence", "activations"
  /// Writes the given rows, row-major (n × cols), to `out`.
  std::function<void(const std::int64_t* rows, std::int64_t n, float* out)> read;
  /// What a message calls column j of this source ("concept 12").
  std::function<std::string(std::int64_t)> column_name;
};

/// Columns `concepts` of `presence`, which is lent and must outlive the source.
RowSource presence_rows(const Presence& presence, std::vector<std::int64_t> concepts);
/// Columns `units` of float32 (N, K) `activations`; the source shares the tensor. Throws
/// Error(input) where shape or dtype is another.
RowSource activation_rows(const torch::Tensor& activations, std::vector<std::int64_t> units);

/// The same source with the values of `rows` (ascending) kept in memory; it gives those rows only.
RowSource kept_rows(const RowSource& source, const Rows& rows, int threads);

/// Reads rows[begin, begin + n) into `out` (n × cols) on up to `threads` threads. Throws
/// Error(input) naming row and column of a value that is not finite.
void read_tile(const RowSource& source, const Rows& rows, std::int64_t begin, std::int64_t n,
               int threads, float* out);

/// 0, 1, …, n − 1.
std::vector<std::int64_t> all_columns(std::int64_t n);

}  // namespace linex
