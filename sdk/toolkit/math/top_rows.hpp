// The rows with the largest values of each column, kept while blocks of rows stream by.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace linex {

/// Bounded memory: columns × k items whatever the number of rows. Ties go to the lower row, so the
/// result does not depend on the order or size of the blocks.
class TopRows {
 public:
  struct Item {
    float value;
    std::int64_t row;
  };

  TopRows(std::int64_t columns, std::int64_t k);

  /// Values of `rows` (one id for each row of `values`): float32 (n, columns) on the CPU. NaN is
  /// below every number. [one thread]
  void add(const torch::Tensor& values, const std::int64_t* rows, int threads);
  /// The largest of a column, descending; fewer than k where fewer rows were added.
  std::vector<Item> of(std::int64_t column) const;
  std::int64_t columns() const { return static_cast<std::int64_t>(heaps_.size()); }

 private:
  std::int64_t k_;
  std::vector<std::vector<Item>> heaps_;  // the least of the kept ones in front
};

}  // namespace linex
