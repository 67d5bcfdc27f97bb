// Networks of inverted residuals, EfficientNets and MobileNets, as torchvision and timm name them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// How a network of inverted residuals is laid out under names.
enum class MobileNaming {
  timm,            ///< `blocks.0.0.conv_dw.weight`
  staged,          ///< torchvision's EfficientNets: `features.1.0.block.0.0.weight`
  flat,            ///< torchvision's MobileNet V3: `features.1.block.0.0.weight`
  flat_unlabelled  ///< torchvision's MobileNet V2: `features.1.conv.0.0.weight`
};

/// What is in no weight of a network of inverted residuals. Widths, kernels, groups, expansions,
/// squeezes and the form of each block are read off the weights.
struct MobileSpec {
  std::string arch;
  MobileNaming naming = MobileNaming::timm;
  std::vector<std::int64_t> depths;          ///< blocks of each stage; flat: one stage a block
  std::vector<std::int64_t> strides;         ///< of each stage's first block
  std::vector<Activation> activations;       ///< of each stage's blocks
  Activation activation = Activation::silu;  ///< of stem and head
  Activation squeeze = Activation::silu;     ///< within squeeze and excitation
  Activation gate = Activation::sigmoid;
  double eps = 1e-5;         ///< of batch normalisation
  bool same = false;         ///< TensorFlow's padding (timm's tf_ networks)
  std::int64_t classes = 0;  ///< 0: no head
};

/// Prefixes, naming, depths and head of the network in `weights`; the rest is left to the caller.
/// No depths where it is no network of inverted residuals.
MobileSpec read_mobile(const StateDict& weights);
/// Whether some block squeezes and excites.
bool squeezes(const StateDict& weights);
/// Whether the file of weights, the folder it is in or timm's configuration beside it is named
/// after `networks` ("tf_efficientnet").
bool named_after(const std::filesystem::path& weights, const std::string& networks);
/// Sets for find_network().
std::vector<std::vector<std::string>> mobile_anchors();

/// All but `preprocess`. Throws Error(input) when the weights do not fit `spec`. A missing head is
/// no error: BuiltNetwork::has_logits is false then.
BuiltNetwork build_mobile(const MobileSpec& spec, StateDict weights);

}  // namespace linex
