#include "toolkit/math/top_rows.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

/// Whether a stands before b; as a heap order it keeps the last one in front.
bool before(const TopRows::Item& a, const TopRows::Item& b) {
  return a.value > b.value || (a.value == b.value && a.row < b.row);
}

constexpr std::int64_t kColumnsPerTask = 16;  // one cache line of a row

}  // namespace

TopRows::TopRows(std::int64_t columns, std::int64_t k)
    : k_(k), heaps_(static_cast<std::size_t>(columns)) {
  if (k < 1) throw std::logic_error("TopRows keeps at least one row");
}

void TopRows::add(const torch::Tensor& values, const std::int64_t* rows, int threads) {
  const std::int64_t n = values.size(0), width = columns();
  if (values.dim() != 2 || values.size(1) != width)
    throw std::logic_error("TopRows: values must be (n, columns)");
  const torch::Tensor dense = values.contiguous();
  const float* const data = dense.data_ptr<float>();
  parallel_for((width + kColumnsPerTask - 1) / kColumnsPerTask, threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(width, (task + 1) * kColumnsPerTask);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = task * kColumnsPerTask; j < end; ++j) {
        const float value = data[i * width + j];
        const Item item{std::isnan(value) ? -INFINITY : value, rows[i]};
        auto& heap = heaps_[static_cast<std::size_t>(j)];
        if (static_cast<std::int64_t>(heap.size()) == k_) {
          if (!before(item, heap.front())) continue;
          std::pop_heap(heap.begin(), heap.end(), before);
          heap.pop_back();
        }
        heap.push_back(item);
        std::push_heap(heap.begin(), heap.end(), before);
      }
    }
  });
}

std::vector<TopRows::Item> TopRows::of(std::int64_t column) const {
  auto items = heaps_[static_cast<std::size_t>(column)];
  std::sort(items.begin(), items.end(), before);
  return items;
}

}  // namespace linex
