#include "core/math/product_sum.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "core/base/parallel.hpp"
#include "core/math/kernels.hpp"

namespace linex {

ProductSum::ProductSum(std::int64_t left, std::int64_t right, bool symmetric, std::int64_t block,
                       std::int64_t depth)
    : right_(right), depth_(depth), symmetric_(symmetric) {
  for (std::int64_t row = 0; row < left; row += block)
    for (std::int64_t col = symmetric ? row : 0; col < right; col += block)
      blocks_.push_back({row, col, std::min(block, left - row), std::min(block, right - col), {}});
}

void ProductSum::add(std::int64_t index, const torch::Tensor& left, const torch::Tensor& right) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  const std::size_t size = static_cast<std::size_t>(block.rows * block.cols);
  if (block.sum.empty()) block.sum.resize(size);
  double* const sum = block.sum.data();
  const torch::Tensor l = left.narrow(1, block.row, block.rows).t();
  const torch::Tensor r = right.narrow(1, block.col, block.cols);
  torch::Tensor product = at::empty({block.rows, block.cols}, at::kFloat);
  const float* const values = product.data_ptr<float>();
  for (std::int64_t begin = 0; begin < r.size(0); begin += depth_) {
    const std::int64_t depth = std::min(depth_, r.size(0) - begin);
    at::mm_out(product, l.narrow(1, begin, depth), r.narrow(0, begin, depth));
    add_to(values, static_cast<std::int64_t>(size), sum);
  }
}

void ProductSum::parallel(std::int64_t n, int threads,
                          const std::function<void(std::int64_t)>& body) {
  parallel_for(n, threads, body);
}

}  // namespace linex
