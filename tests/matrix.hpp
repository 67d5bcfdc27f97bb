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

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    const float* const values = values_.data_ptr<float>();
    const std::int64_t width = values_.size(1);
    for (const std::int64_t id : rows) {
      const float* const row = values + id * width;
      if (cols.is_all()) out = std::copy_n(row, width, out);
      for (const std::int64_t col : cols.ids()) *out++ = row[col];
    }
  }

  torch::Tensor values_;
};

}  // namespace linex::test
