// Any function of labels: a mean for each distinct row of presence.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "toolkit/math/row_source.hpp"

namespace linex {

/// The distinct rows of presence among some rows: cells. A function of the concepts is one value a
/// cell, and no other; which value fits best is the cell's mean.
class Cells {
 public:
  /// Cells of `rows` of `presence`. Stops, with complete() false, at more than `most` of them.
  Cells(const RowSource& presence, const Rows& rows, std::int64_t most, int threads);

  bool complete() const { return complete_; }
  std::int64_t count() const { return static_cast<std::int64_t>(index_.size()); }
  /// The cell of each of `rows`; -1 for one that was not among the rows of the constructor.
  std::vector<std::int64_t> of(const RowSource& presence, const Rows& rows, int threads) const;

 private:
  std::unordered_map<std::string, std::int64_t> index_;  // by the row's bytes
  bool complete_ = true;
};

}  // namespace linex
