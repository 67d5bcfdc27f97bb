// ResNets as torchvision, akamaster and chenyaofo name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What distinguishes one ResNet from another.
struct ResNetSpec {
  std::string arch;
  bool bottleneck = false;           ///< 1x1, 3x3, 1x1 instead of 3x3, 3x3
  std::vector<std::int64_t> blocks;  ///< residual blocks of each stage
  std::int64_t width = 64;           ///< channels after the stem; doubles with each stage
  std::int64_t groups = 1;           ///< of a bottleneck's 3x3 (ResNeXt)
  std::int64_t group_width = 64;     ///< channels a group at width 64 (wide ResNets, ResNeXt)
  bool small_stem = false;           ///< 3x3 convolution without pooling (CIFAR)
  std::string shortcut;              ///< module of projecting shortcuts; empty: option A
  std::string head = "fc";
  std::int64_t classes = 1000;
};

/// Reads architecture, depth, widths and class count off the names and shapes. Throws Error(input)
/// when they are not those of a ResNet.
ResNetSpec infer_resnet(const StateDict& weights);

/// The named architecture with the class count, shortcuts and head of `weights`; "auto" infers.
ResNetSpec resnet_spec(const std::string& arch, const StateDict& weights);

/// Throws Error(input) when the weights do not fit `spec`.
BuiltNetwork build_resnet(const ResNetSpec& spec, StateDict weights);

}  // namespace linex
