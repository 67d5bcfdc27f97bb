// Presence out of a matrix, for tests and benches.
#pragma once

#include <torch/types.h>

#include <algorithm>

#include "linex/labeler.hpp"

namespace linex::test {

/// Presence in memory or in a mapped file, float32.
class Matrix final : public Presence {
 public:
  explicit Matrix(torch::Tensor values) : values_(values.contiguous()) {}
  std::int64_t rows() const override { return values_.size(0); }
  std::int64_t cols() const override { return values_.size(1); }
  void read(const std::int64_t* rows, std::int64_t n, const std::int64_t* cols, std::int64_t n_cols,
            float* out) const override {
    const float* const values = values_.data_ptr<float>();
    const std::int64_t width = values_.size(1);
    for (std::int64_t i = 0; i < n; ++i) {
      const float* const row = values + rows[i] * width;
      if (!cols) {
        out = std::copy_n(row, width, out);
        continue;
      }
      for (std::int64_t j = 0; j < n_cols; ++j) *out++ = row[cols[j]];
    }
  }

 private:
  torch::Tensor values_;
};

}  // namespace linex::test
