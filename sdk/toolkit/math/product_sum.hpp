// Σ over row tiles of LᵀR: float32 products, float64 sums, one block at a time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "linex/cluster.hpp"
#include "toolkit/base/huge_pages.hpp"
#include "toolkit/math/sparse_columns.hpp"

namespace linex {

/// The matrix is cut into fixed square blocks. Each block of a tile's product is one matrix product
/// on one thread, so the sum depends on tiles and blocks but not on the thread count. Tiles may lie
/// on a GPU: then products and sums are made there.
///
/// With a grid, each product of `depth` rows is rounded to 2^-52 of what the whole sum can reach:
/// additions are then exact, and the sum does not depend on the order of those products, nor on who
/// made them.
class ProductSum {
 public:
  /// |sum(i, j)| over any of the rows is at most left[i]·right[j] (ColumnReach::reach).
  struct Grid {
    std::vector<double> left, right;
  };
  /// A left × right matrix; `symmetric` keeps the blocks on and above the diagonal only. `depth` is
  /// the number of rows multiplied in float32 before they are added in float64.
  ProductSum(std::int64_t left, std::int64_t right, bool symmetric, std::int64_t block,
             std::int64_t depth);
  void set_grid(const Grid& grid);

  std::int64_t blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  /// Adds block `index` of leftᵀ·right; float32 (rows, left) and (rows, right), rows contiguous, on
  /// one device. Products are of at most `deepest` rows. [one thread per block]
  void add(std::int64_t index, const torch::Tensor& left, const torch::Tensor& right,
           std::int64_t deepest);
  void add(std::int64_t index, const torch::Tensor& left, const torch::Tensor& right) {
    add(index, left, right, depth_);
  }
  /// The same where the left tile is mostly zeros, on the CPU: products are float64, value by
  /// value, and each is rounded on the grid.
  void add(std::int64_t index, const SparseColumns& left, const torch::Tensor& right);
  /// The sums become those over all ranks.
  void sum_over(const Cluster& cluster);
  /// Writes value(i, j, sum) for every element to `out` (left × right, row-major; both triangles
  /// when symmetric) and frees the sums on the way.
  template <class T, class Value>
  void finish(int threads, T* out, const Value& value);

 private:
  struct Block {
    std::int64_t row, col, rows, cols;
    torch::Tensor sum;  // float64 (rows, cols) where the tiles are; made by the first add()
  };
  static double* sum_of(Block& block);
  void add_on_device(Block& block, const torch::Tensor& left, const torch::Tensor& right,
                     std::int64_t deepest) const;
  static void bring_home(Block& block);
  void add_diagonal(std::int64_t begin, std::int64_t size);
  static void parallel(std::int64_t n, int threads, const std::function<void(std::int64_t)>& body);

  std::int64_t right_, depth_;
  bool symmetric_;
  std::vector<Block> blocks_;
  std::vector<double> left_grid_, right_grid_;  // powers of two; empty: no grid
};

template <class T, class Value>
void ProductSum::finish(int threads, T* out, const Value& value) {
  parallel(blocks(), threads, [&](std::int64_t index) {
    Block& block = blocks_[static_cast<std::size_t>(index)];
    bring_home(block);
    const double* const sum = block.sum.data_ptr<double>();
    for (std::int64_t i = 0; i < block.rows; ++i) {
      const std::int64_t row = block.row + i;
      for (std::int64_t j = 0; j < block.cols; ++j) {
        const std::int64_t col = block.col + j;
        if (symmetric_ && col < row) continue;
        const T result = static_cast<T>(value(row, col, sum[i * block.cols + j]));
        out[row * right_ + col] = result;
        if (symmetric_) out[col * right_ + row] = result;
      }
    }
    free_pages(block.sum);
  });
}

}  // namespace linex
