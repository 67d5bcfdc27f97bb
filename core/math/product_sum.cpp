#include "core/math/product_sum.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "core/base/parallel.hpp"

namespace linex {

ProductSum::ProductSum(std::int64_t left, std::int64_t right, bool symmetric, std::int64_t block)
    : right_(right), symmetric_(symmetric) {
  for (std::int64_t row = 0; row < left; row += block)
    for (std::int64_t col = symmetric ? row : 0; col < right; col += block)
      blocks_.push_back({row, col, std::min(block, left - row), std::min(block, right - col), {}});
}

void ProductSum::add(std::int64_t index, const torch::Tensor& left, const torch::Tensor& right) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  const torch::Tensor product =
      at::mm(left.narrow(1, block.row, block.rows).t(), right.narrow(1, block.col, block.cols));
  const std::size_t size = static_cast<std::size_t>(block.rows * block.cols);
  if (block.sum.empty()) block.sum.resize(size);
  const float* const values = product.data_ptr<float>();
  double* const sum = block.sum.data();
#pragma omp simd
  for (std::size_t i = 0; i < size; ++i) sum[i] += static_cast<double>(values[i]);
}

void ProductSum::parallel(std::int64_t n, int threads,
                          const std::function<void(std::int64_t)>& body) {
  parallel_for(n, threads, body);
}

}  // namespace linex
