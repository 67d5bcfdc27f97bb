// Vision transformers as networks whose every module can be tapped, under their library's names.
#pragma once

#include "toolkit/net/image_model.hpp"
#include "vit_spec.hpp"

namespace linex {

/// The position embedding (1, side², width) of another grid.
torch::Tensor interpolate_positions(const torch::Tensor& positions, std::int64_t side,
                                    const PositionResize& how);

/// Throws Error(input) when the weights do not fit `spec`. A missing or other head is no error:
/// BuiltNetwork::has_logits is false then.
BuiltNetwork build_vit(const VitSpec& spec, StateDict weights);

}  // namespace linex
