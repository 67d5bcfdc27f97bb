// Swin transformers as torchvision, timm and the authors name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// Who named the parameters of a Swin transformer.
enum class SwinNaming {
  torchvision,  ///< `features.1.0.attn.qkv.weight`
  timm,         ///< `layers.0.blocks.0.attn.qkv.weight`, a stage begins with its merging
  authors       ///< the same, a stage ends with the merging: `head.weight`
};

/// What distinguishes one Swin transformer from another.
struct SwinSpec {
  std::string arch;
  SwinNaming naming = SwinNaming::torchvision;
  bool v2 = false;  ///< cosine attention, continuous relative positions, norms after the branches
  std::vector<std::int64_t> depths;   ///< blocks of each stage
  std::vector<std::int64_t> heads;    ///< attention heads of each stage
  std::vector<std::int64_t> windows;  ///< side of the windows of each stage; 0: not in the weights
  std::int64_t width = 96;            ///< channels of the first stage; doubles with each
  std::int64_t patch = 4;
  std::int64_t mlp = 4;                ///< hidden units of an MLP, in channels
  std::int64_t pretrained_window = 0;  ///< V2: windows that distances are relative to; 0 = the same
  std::int64_t image = 0;  ///< side of the images that windows larger than a map were cut for
  std::int64_t classes = 1000;
  bool has_head = true;
};

/// Reads off names and shapes what is in them; windows of timm's V2 are not. Throws Error(input)
/// when they are not those of a Swin transformer.
SwinSpec infer_swin(const StateDict& weights);
/// The named architecture with naming and head of `weights`; "auto" infers.
SwinSpec swin_spec(const std::string& arch, const StateDict& weights);
/// Sets windows that are not in the weights for images of side `image` (0: 256, or 32 windows): a
/// window is no larger than the map of its stage.
void set_windows(SwinSpec& spec, std::int64_t window, std::int64_t image);
/// Throws Error(input) when the weights do not fit `spec`. A missing head is no error:
/// BuiltNetwork::has_logits is false then.
BuiltNetwork build_swin(const SwinSpec& spec, StateDict weights);

}  // namespace linex
