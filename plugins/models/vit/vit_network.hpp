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
  std::int64_t image = 224;         ///< side; follows from the position embedding
  std::int64_t representation = 0;  ///< width of heads.pre_logits, 0 = none
  std::int64_t classes = 1000;
};

/// Reads everything but the number of heads off the names and shapes; that is the published one of
/// the width, or width/64, unless `heads` > 0. Throws Error(input) when they are not those of a
/// vision transformer.
VitSpec infer_vit(const StateDict& weights, std::int64_t heads);
/// The named architecture ("vit_b_16", ...) with image size and head of `weights`; "auto" infers.
VitSpec vit_spec(const std::string& arch, const StateDict& weights, std::int64_t heads);
/// Throws Error(input) when the weights do not fit `spec`.
BuiltNetwork build_vit(const VitSpec& spec, StateDict weights);

}  // namespace linex
