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
  std::int64_t stem_kernel = 7;
  std::int64_t stem_stride = 0;         ///< 0: 1 for a 3x3 kernel, else 2
  int stem_pool = -1;                   ///< max pooling after the stem: 1, 0; -1: not after 3x3
  std::vector<std::int64_t> strides;    ///< of each stage's first block; empty: 1, 2, 2, ...
  std::vector<std::int64_t> dilations;  ///< of each stage's 3x3 convolutions; empty: 1, 1, ...
  std::string shortcut;                 ///< module of projecting shortcuts; empty: option A
  std::string head = "fc";
  std::int64_t classes = 1000;
  bool has_head = true;  ///< false: none that is one linear map; the network has no logits
  bool head_bias = true;
};

/// Reads architecture, depth, widths and class count off the names and shapes, under whatever
/// prefix find_network() finds them. Strides, pooling and dilation cannot be read off them. Throws
/// Error(input) when they are not those of a ResNet.
ResNetSpec infer_resnet(const StateDict& weights);

/// The named architecture with the class count, shortcuts and head of `weights`; "auto" infers.
ResNetSpec resnet_spec(const std::string& arch, const StateDict& weights);

/// Dilations a stage instead of strides, as torchvision's replace_stride_with_dilation has them:
/// the first block of a dilated stage keeps the dilation of the stage before. `replace` is for
/// stages 2, 3, ...; sets strides and dilations.
void replace_stride_with_dilation(ResNetSpec& spec, const std::vector<bool>& replace);

/// Throws Error(input) when the weights do not fit `spec`. A missing or other head is no error:
/// BuiltNetwork::has_logits is false then.
BuiltNetwork build_resnet(const ResNetSpec& spec, StateDict weights);

}  // namespace linex
