// ConvNeXts as torchvision, timm and the authors name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What distinguishes one ConvNeXt from another.
struct ConvNextSpec {
  std::string arch;
  bool timm = false;                 ///< timm's names (the authors' are turned into them)
  std::vector<std::int64_t> depths;  ///< blocks of each stage
  std::vector<std::int64_t> widths;  ///< channels of each stage
  std::int64_t patch = 4;            ///< side of the stem's patches; 0: two 3x3 convolutions
  std::int64_t stem_width = 0;       ///< between those
  std::int64_t kernel = 7;           ///< of the depthwise convolutions
  std::int64_t hidden = 0;           ///< width of head.pre_logits, 0 = none
  bool response_norm = false;        ///< V2: global response normalisation
  bool layer_scale = true;
  bool conv_bias = true;
  bool norm_first = false;  ///< normalisation before the pooling
  double eps = 1e-6;        ///< of all layer normalisations
  std::int64_t classes = 1000;
  bool has_head = true;
};

/// Reads everything but `eps` off the names and shapes. Throws Error(input) when they are not those
/// of a ConvNeXt.
ConvNextSpec infer_convnext(const StateDict& weights);
/// The named architecture with naming, head and variant of `weights`; "auto" infers.
ConvNextSpec convnext_spec(const std::string& arch, const StateDict& weights);
/// Throws Error(input) when the weights do not fit `spec`. A missing head is no error:
/// BuiltNetwork::has_logits is false then.
BuiltNetwork build_convnext(const ConvNextSpec& spec, StateDict weights);

}  // namespace linex
