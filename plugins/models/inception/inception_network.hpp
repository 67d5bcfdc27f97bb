// Inception v3 as torchvision and timm name it.
#pragma once

#include <cstdint>
#include <string>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// `names` (auto, torchvision, timm) says how layers are called, whose weights have the same names
/// in both; auto: as timm does where its configuration lies beside the weights. Widths are read off
/// the weights; the auxiliary classifier takes part in training alone and is left out. Throws
/// Error(input) when the weights are those of something else. A missing head is no error.
BuiltNetwork build_inception(const std::string& names, StateDict weights);

}  // namespace linex
