#include "toolkit/concepts/matrix_presence.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "linex/error.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"

namespace linex {
namespace {

/// Whether all of values[0, n) are finite. Tests the exponent bits, so that the loop vectorises.
bool all_finite(const float* values, std::int64_t n) {
  std::uint32_t worst = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    worst = std::max(worst, bits & 0x7f800000U);
  }
  return worst != 0x7f800000U;
}

}  // namespace

MatrixPresence::MatrixPresence(torch::Tensor matrix, std::string source)
    : matrix_(matrix.contiguous()), source_(std::move(source)) {
  if (matrix_.dim() != 2)
    throw input_error(source_ + " is " + shape_text(matrix_.sizes().vec()) +
                      "; give one row an image and one column a concept");
}

void MatrixPresence::do_read(Ids rows, const Columns& cols, float* out) const {
  const std::int64_t n_rows = rows.size(), width = cols.count(this->cols());
  for (std::int64_t i = 0; i < n_rows; ++i) {
    float* to = out + i * width;
    if (matrix_.scalar_type() == torch::kFloat32) {
      const float* from = matrix_.data_ptr<float>() + rows[i] * this->cols();
      if (cols.is_all())
        std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
      else
        for (std::int64_t j = 0; j < width; ++j) to[j] = from[cols[j]];
    } else {
      const auto row = matrix_[rows[i]].to(torch::kFloat32);
      const float* from = row.data_ptr<float>();
      for (std::int64_t j = 0; j < width; ++j) to[j] = from[cols[j]];
    }
    if (!all_finite(to, width)) complain(rows[i], cols, to);
  }
  release_rows(matrix_, rows[0], rows[n_rows - 1] + 1 - rows[0]);
}

void MatrixPresence::complain(std::int64_t row, const Columns& cols, const float* values) const {
  std::int64_t j = 0;
  while (std::isfinite(values[j])) ++j;
  const auto recorded = matrix_[row][cols[j]].to(torch::kDouble).item<double>();
  throw input_error(source_ + ": row " + std::to_string(row) + ", column " +
                    std::to_string(cols[j]) + " is " +
                    (std::isfinite(recorded) ? "too large for float32"
                     : std::isnan(recorded)  ? "NaN"
                                             : "infinite") +
                    "; presence must be finite");
}

}  // namespace linex
