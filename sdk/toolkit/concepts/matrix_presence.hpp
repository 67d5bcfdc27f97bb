// Presence that is a matrix, in memory or in a mapped file.
#pragma once

#include <torch/types.h>

#include <string>

#include "linex/presence.hpp"

namespace linex {

/// Rows of a contiguous (N, C) matrix of any real dtype on the CPU; the source shares the tensor.
/// Rows of a large file that map_npy() mapped are let go after they were read. [any thread]
class MatrixPresence final : public Presence {
 public:
  /// `source` is what messages call the matrix, its file. Throws Error(input) for another rank.
  explicit MatrixPresence(torch::Tensor matrix, std::string source = "presence");

  std::int64_t rows() const override { return matrix_.size(0); }
  std::int64_t cols() const override { return matrix_.size(1); }

 private:
  /// Throws Error(input) naming source, row and column of a value that is not a finite float32.
  void do_read(Ids rows, const Columns& cols, float* out) const override;
  [[noreturn]] void complain(std::int64_t row, const Columns& cols, const float* values) const;

  torch::Tensor matrix_;
  std::string source_;
};

}  // namespace linex
