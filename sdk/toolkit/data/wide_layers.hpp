// Layers with so many units that a batch's whole output is too much to hold.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/ability.hpp"
#include "linex/model.hpp"
#include "linex/pool.hpp"

namespace linex {

/// An optional ability of a TargetModel: parts of a layer's output without the whole of it.
class WideLayers {
 public:
  static constexpr char kAbility[] = "linex.wide_layers/1";
  virtual ~WideLayers() = default;
  /// TargetModel::forward(), its layers pooled as pool_output() does: float32 (n, units).
  virtual ForwardResult forward_pooled(const torch::Tensor& images,
                                       const std::vector<std::string>& layers, bool logits,
                                       Pool pool) const = 0;
  /// The output of one layer with these units only, in this order.
  virtual torch::Tensor forward_units(const torch::Tensor& images, const std::string& layer,
                                      const std::vector<std::int64_t>& units) const = 0;
};

}  // namespace linex
