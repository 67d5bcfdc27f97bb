// RegNets X, Y and Z as torchvision and timm name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What is in no weight of a RegNet, and what is read off them first. Widths, groups and squeezes
/// are read while it is built.
struct RegNetSpec {
  std::string arch;
  bool timm = false;
  std::vector<std::int64_t> depths;  ///< blocks of each stage
  Activation activation = Activation::relu;
  std::int64_t classes = 0;  ///< 0: no head
  bool linear = false;       ///< Z: no shortcut where a block changes the shape, no last activation
};

/// What `arch` ("regnet_y_400mf", "regnetx_002", ...) and `weights` make together; "auto" infers
/// all. Throws Error(input) when the weights are those of another architecture.
RegNetSpec regnet_spec(const std::string& arch, const StateDict& weights);
/// Throws Error(input) when the weights do not fit `spec`. A missing head is no error.
BuiltNetwork build_regnet(const RegNetSpec& spec, StateDict weights);

}  // namespace linex
