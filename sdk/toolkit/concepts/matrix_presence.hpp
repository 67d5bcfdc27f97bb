// Presence that is a matrix, in memory or in a mapped file.
#pragma once

#include <torch/types.h>

#include <string>

#include "linex/ability.hpp"
#include "linex/presence.hpp"

namespace linex {

/// An ability of a Presence that is a matrix as a whole: ability<WholeMatrix>(presence).
class WholeMatrix {
 public:
  static constexpr char kAbility[] = "linex.whole_matrix/1";
  virtual ~WholeMatrix() = default;
  /// (N, C) of any real dtype; values have not been looked at.
  virtual const torch::Tensor& matrix() const = 0;
};

/// Rows of a contiguous (N, C) matrix of any real dtype on the CPU; the source shares the tensor.
/// Rows of a large file that map_npy() mapped are let go after they were read. [any thread]
class MatrixPresence final : public Presence, public WholeMatrix {
 public:
  /// `source` is what messages call the matrix, its file. Throws Error(input) for another rank.
  explicit MatrixPresence(torch::Tensor matrix, std::string source = "presence");

  std::int64_t rows() const override { return matrix_.size(0); }
  std::int64_t cols() const override { return matrix_.size(1); }
  const torch::Tensor& matrix() const override { return matrix_; }
  const void* ability(const char* name) const override { return offer<WholeMatrix>(name, this); }

 private:
  /// Throws Error(input) naming source, row and column of a value that is not a finite float32.
  void do_read(Ids rows, const Columns& cols, float* out) const override;
  [[noreturn]] void complain(std::int64_t row, const Columns& cols, const float* values) const;

  torch::Tensor matrix_;
  std::string source_;
};

}  // namespace linex
