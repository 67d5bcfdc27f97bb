// EfficientNets, V1 and V2, as torchvision and timm name them.
#pragma once

#include <string>

#include "toolkit/net/mobile_network.hpp"

namespace linex {

/// What `arch` ("efficientnet_b0", "efficientnet_v2_s", "tf_efficientnetv2_b0", ...) and `weights`
/// make together; "auto" infers all but whether timm's weights are a tf_ network's: the name of the
/// file tells that, or nothing. Throws Error(input) when the weights are those of another
/// architecture.
MobileSpec efficientnet_spec(const std::string& arch, const StateDict& weights);
/// build_mobile() with the preprocessing and the notes of an EfficientNet.
BuiltNetwork build_efficientnet(const MobileSpec& spec, StateDict weights);

}  // namespace linex
