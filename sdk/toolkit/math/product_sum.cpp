#include "toolkit/math/product_sum.hpp"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>

#include "toolkit/base/huge_pages.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/math/kernels.hpp"

namespace linex {

namespace {

// A block on the diagonal computes both of its triangles; halving it saves a quarter of its work as
// long as the parts are large enough to multiply well.
constexpr std::int64_t kSmallestDiagonal = 256;

}  // namespace

ProductSum::ProductSum(std::int64_t left, std::int64_t right, bool symmetric, std::int64_t block,
                       std::int64_t depth)
    : right_(right), depth_(depth), symmetric_(symmetric) {
  for (std::int64_t row = 0; row < left; row += block) {
    const std::int64_t rows = std::min(block, left - row);
    if (symmetric) add_diagonal(row, rows);
    for (std::int64_t col = symmetric ? row + rows : 0; col < right; col += block)
      blocks_.push_back({row, col, rows, std::min(block, right - col), {}});
  }
}

void ProductSum::add_diagonal(std::int64_t begin, std::int64_t size) {
  if (size <= kSmallestDiagonal) {
    blocks_.push_back({begin, begin, size, size, {}});
    return;
  }
  const std::int64_t half = size / 2;
  add_diagonal(begin, half);
  add_diagonal(begin + half, size - half);
  blocks_.push_back({begin, begin + half, half, size - half, {}});
}

void ProductSum::set_grid(const Grid& grid) {
  // Products may exceed what exact ones reach by their rounding; a power of two is above both.
  const auto powers = [](const std::vector<double>& reach) {
    std::vector<double> result;
    for (const double value : reach) result.push_back(power_of_two(1.001 * value));
    return result;
  };
  left_grid_ = powers(grid.left);
  right_grid_ = powers(grid.right);
}

void ProductSum::bring_home(Block& block) {
  if (!block.sum.defined()) block.sum = torch::zeros({block.rows, block.cols}, torch::kDouble);
  block.sum = block.sum.cpu();
}

void ProductSum::sum_over(const Cluster& cluster) {
  for (Block& block : blocks_) {
    bring_home(block);
    cluster.sum(block.sum.data_ptr<double>(), block.sum.numel());
  }
}

void ProductSum::add(std::int64_t index, const torch::Tensor& left, const torch::Tensor& right,
                     std::int64_t deepest) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  const torch::Tensor l = left.narrow(1, block.row, block.rows).t();
  const torch::Tensor r = right.narrow(1, block.col, block.cols);
  if (!right.device().is_cpu()) {
    add_on_device(block, l, r, deepest);
    return;
  }
  double* const sum = sum_of(block);
  thread_local std::vector<float> values;  // kept: fresh pages cost as much as the sums
  values.resize(std::max(values.size(), static_cast<std::size_t>(block.rows * block.cols)));
  torch::Tensor product = at::from_blob(values.data(), {block.rows, block.cols}, at::kFloat);
  for (std::int64_t begin = 0; begin < r.size(0); begin += deepest) {
    const std::int64_t depth = std::min(deepest, r.size(0) - begin);
    at::mm_out(product, l.narrow(1, begin, depth), r.narrow(0, begin, depth));
    if (left_grid_.empty()) {
      add_to(values.data(), block.rows * block.cols, sum);
      continue;
    }
    for (std::int64_t i = 0; i < block.rows; ++i)
      add_on_grid(values.data() + i * block.cols, block.cols,
                  left_grid_[static_cast<std::size_t>(block.row + i)],
                  right_grid_.data() + block.col, sum + i * block.cols);
  }
}

void ProductSum::add_on_device(Block& block, const torch::Tensor& left, const torch::Tensor& right,
                               std::int64_t deepest) const {
  torch::Tensor magic;
  if (!left_grid_.empty()) {
    const auto part = [&](const std::vector<double>& grid, std::int64_t begin, std::int64_t n) {
      return at::from_blob(const_cast<double*>(grid.data()) + begin, {n}, at::kDouble)
          .to(right.device());
    };
    magic = part(left_grid_, block.row, block.rows).unsqueeze(1) *
            part(right_grid_, block.col, block.cols).unsqueeze(0) * 1.5;
  }
  for (std::int64_t begin = 0; begin < right.size(0); begin += deepest) {
    const std::int64_t depth = std::min(deepest, right.size(0) - begin);
    torch::Tensor product =
        at::mm(left.narrow(1, begin, depth), right.narrow(0, begin, depth)).to(at::kDouble);
    if (magic.defined()) product.add_(magic).sub_(magic);
    block.sum = block.sum.defined() ? block.sum.add_(product) : product;
  }
}

void ProductSum::add(std::int64_t index, const SparseColumns& left, const torch::Tensor& right) {
  Block& block = blocks_[static_cast<std::size_t>(index)];
  const float* const values = right.data_ptr<float>() + block.col;
  double* sum = sum_of(block);
  for (std::int64_t i = 0; i < block.rows; ++i, sum += block.cols) {
    const auto column = static_cast<std::size_t>(block.row + i);
    for (auto at = left.begin[column]; at < left.begin[column + 1]; ++at) {
      const auto place = static_cast<std::size_t>(at);
      const float* const row = values + left.row[place] * right_;
      const double value = static_cast<double>(left.value[place]);
      if (left_grid_.empty())
        subtract_scaled(row, -value, block.cols, sum);
      else
        add_scaled_on_grid(row, value, block.cols, left_grid_[column],
                           right_grid_.data() + block.col, sum);
    }
  }
}

double* ProductSum::sum_of(Block& block) {
  if (!block.sum.defined()) {
    block.sum = empty_on_huge_pages({block.rows, block.cols}, at::kDouble);
    block.sum.zero_();
  }
  return block.sum.data_ptr<double>();
}

void ProductSum::parallel(std::int64_t n, int threads,
                          const std::function<void(std::int64_t)>& body) {
  parallel_for(n, threads, body);
}

}  // namespace linex
