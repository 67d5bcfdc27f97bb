// Q, the second moments of standardised concepts, all at once or row by row as they are needed.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace linex {

/// Symmetric (C, C) matrix of float32. Reading rows is [any thread]; require() is not.
class Gram {
 public:
  /// Computes some rows: float32 (wanted, C).
  using Fetch = std::function<torch::Tensor(const std::vector<std::int64_t>& wanted)>;

  explicit Gram(torch::Tensor full);         ///< every row is there
  Gram(std::int64_t concepts, Fetch fetch);  ///< none is there until required

  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  /// Row j, `size()` values, or null while it is not there.
  const float* row(std::int64_t j) const { return rows_[static_cast<std::size_t>(j)]; }
  std::int64_t rows_there() const { return there_; }
  /// Fetches those of `wanted` (any order, repeats allowed) that are not there, in one go. Which
  /// rows are fetched together may move their values within rounding.
  void require(std::vector<std::int64_t> wanted);

 private:
  std::vector<const float*> rows_;
  std::vector<torch::Tensor> parts_;  // own what rows_ points to
  std::int64_t there_ = 0;
  Fetch fetch_;
};

}  // namespace linex
