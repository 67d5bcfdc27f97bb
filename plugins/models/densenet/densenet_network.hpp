// DenseNets as torchvision and timm name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What is in no weight of a DenseNet, and what is read off them first. Widths are read while it is
/// built.
struct DenseNetSpec {
  std::string arch;
  bool timm = false;  ///< layers are called as timm does: normalisations after their activation
  bool deep = false;  ///< timm's stem of three 3x3 convolutions and a blurred pooling
  std::vector<std::int64_t> depths;  ///< layers of each block
  std::int64_t classes = 0;          ///< 0: no head
};

/// What `arch` ("densenet121", ...), `names` (auto, torchvision, timm) and `weights` make together;
/// "auto" infers both: names are timm's where its configuration lies beside the weights or only it
/// has such a stem. Throws Error(input) when the weights are those of another architecture.
DenseNetSpec densenet_spec(const std::string& arch, const std::string& names,
                           const StateDict& weights);
/// Throws Error(input) when the weights do not fit `spec`. A missing head is no error.
BuiltNetwork build_densenet(const DenseNetSpec& spec, StateDict weights);

}  // namespace linex
