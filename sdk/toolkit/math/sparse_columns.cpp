#include "toolkit/math/sparse_columns.hpp"

#include <algorithm>

#include "toolkit/base/parallel.hpp"

namespace linex {

namespace {

constexpr std::int64_t kColsPerTask = 256;

std::int64_t nonzeros(const float* values, std::int64_t n) {
  std::int64_t count = 0;
#pragma omp simd reduction(+ : count)
  for (std::int64_t i = 0; i < n; ++i) count += values[i] != 0;
  return count;
}

}  // namespace

bool mostly_zeros(const float* values, std::int64_t n, int threads) {
  constexpr std::int64_t kShare = 16, kPerTask = std::int64_t{1} << 20;
  // Almost every tile that is not is known by its first values.
  const std::int64_t first = std::min(n, kPerTask / 16);
  if (n == 0 || nonzeros(values, first) * 2 > first) return false;
  const std::int64_t tasks = (n + kPerTask - 1) / kPerTask;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(tasks));
  parallel_for(tasks, threads_for(n, threads), [&](std::int64_t task) {
    const std::int64_t begin = task * kPerTask;
    counts[static_cast<std::size_t>(task)] =
        nonzeros(values + begin, std::min(kPerTask, n - begin));
  });
  std::int64_t count = 0;
  for (const std::int64_t c : counts) count += c;
  return count * kShare <= n;
}

SparseColumns sparse_columns(const float* values, std::int64_t rows, std::int64_t cols,
                             int threads) {
  SparseColumns sparse;
  sparse.begin.assign(static_cast<std::size_t>(cols) + 1, 0);
  const std::int64_t tasks = (cols + kColsPerTask - 1) / kColsPerTask;
  const auto each = [&](const auto& take) {
    parallel_for(tasks, threads_for(rows * cols, threads), [&](std::int64_t task) {
      const std::int64_t first = task * kColsPerTask, last = std::min(cols, first + kColsPerTask);
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = first; j < last; ++j)
          if (values[i * cols + j] != 0) take(i, j, values[i * cols + j]);
    });
  };
  each([&](std::int64_t, std::int64_t j, float) {
    ++sparse.begin[static_cast<std::size_t>(j) + 1];
  });
  for (std::size_t j = 1; j < sparse.begin.size(); ++j) sparse.begin[j] += sparse.begin[j - 1];
  const auto total = static_cast<std::size_t>(sparse.begin.back());
  sparse.row.resize(total);
  sparse.value.resize(total);
  std::vector<std::int64_t> next(sparse.begin.begin(), sparse.begin.end() - 1);
  each([&](std::int64_t i, std::int64_t j, float value) {
    const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(j)]++);
    sparse.row[at] = static_cast<std::int32_t>(i);
    sparse.value[at] = value;
  });
  return sparse;
}

}  // namespace linex
