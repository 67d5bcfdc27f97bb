// A layer's output with one unit's pooled value replaced.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "linex/pool.hpp"

namespace linex {

/// How a replaced unit's map looks: the actual map shifted until its pooled value is the wanted
/// one, or that value everywhere.
enum class Fill { shift, constant };

/// Pooled values (n) of `unit` in a layer's output (n, C, H, W), (n, T, D) or (n, D)
/// (docs/methods.md §1.1).
inline torch::Tensor pooled_unit(const torch::Tensor& output, std::int64_t unit, Pool pool) {
  if (output.dim() == 2) return output.select(1, unit);
  const auto map = output.dim() == 4 ? output.select(1, unit).flatten(1) : output.select(2, unit);
  if (pool == Pool::first) return map.select(1, 0);
  return pool == Pool::max ? map.amax(1) : map.mean(1);
}

/// Writes `values` (n) as the pooled value of `unit` into `output`, one variant of a batch's layer
/// output, in place. `was` (n) are the pooled values before.
inline void replace_unit(torch::Tensor output, std::int64_t unit, const torch::Tensor& values,
                         const torch::Tensor& was, Pool pool, Fill fill) {
  if (output.dim() == 2) {
    output.select(1, unit).copy_(values);
    return;
  }
  auto map = output.dim() == 4 ? output.select(1, unit) : output.select(2, unit);
  if (pool == Pool::first) {
    map.select(1, 0).copy_(values);
    return;
  }
  const bool is_map = output.dim() == 4;
  const auto wide = [is_map](const torch::Tensor& column) {
    return is_map ? column.view({-1, 1, 1}) : column.view({-1, 1});
  };
  if (fill == Fill::constant)
    map.copy_(wide(values).expand_as(map));
  else
    map.add_(wide(values - was));
}

}  // namespace linex
