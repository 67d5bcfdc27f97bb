// Vision transformers as torchvision names them.
#pragma once

#include <cstdint>
#include <string>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// What distinguishes one vision transformer from another.
struct VitSpec {
  std::string arch;
  std::int64_t patch = 16, layers = 12, width = 768, mlp = 3072;
  std::int64_t heads = 12;
  std::int64_t image = 224;          ///< side that the network takes
  std::int64_t trained_image = 224;  ///< side that its position embedding is for
  std::int64_t representation = 0;   ///< width of heads.pre_logits, 0 = none
  std::int64_t classes = 1000;
  bool has_head = true;
};

/// Reads everything but the number of heads off the names and shapes; that is the published one of
/// the width, or width/64, unless `heads` > 0. Throws Error(input) when they are not those of a
/// vision transformer.
VitSpec infer_vit(const StateDict& weights, std::int64_t heads);
/// The named architecture ("vit_b_16", ...) with image size and head of `weights`; "auto" infers.
VitSpec vit_spec(const std::string& arch, const StateDict& weights, std::int64_t heads);
/// Sets the side of the images: another one than the weights' interpolates their position
/// embedding. Throws Error(usage) for one that patches do not tile.
void set_image_size(VitSpec& spec, std::int64_t side);
/// The position embedding (1, 1 + s², width) for side × side patches, the class token's kept:
/// bicubic with aligned corners, as torchvision's interpolate_embeddings.
torch::Tensor interpolate_positions(const torch::Tensor& positions, std::int64_t side);
/// Throws Error(input) when the weights do not fit `spec`. A missing or other head is no error:
/// BuiltNetwork::has_logits is false then.
BuiltNetwork build_vit(const VitSpec& spec, StateDict weights);

}  // namespace linex
