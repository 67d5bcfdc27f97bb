// MobileNets V2 and V3 as torchvision and timm name them.
#pragma once

#include <string>

#include "toolkit/net/mobile_network.hpp"

namespace linex {

/// What `arch` ("mobilenet_v2", "mobilenet_v3_large", "tf_mobilenet_v3_small", ...) and `weights`
/// make together, at any width; "auto" infers all but whether timm's weights are a tf_ network's:
/// the name of the file tells that, or nothing. Throws Error(input) when the weights are those of
/// another architecture.
MobileSpec mobilenet_spec(const std::string& arch, const StateDict& weights);
/// build_mobile() with the preprocessing and the notes of a MobileNet.
BuiltNetwork build_mobilenet(const MobileSpec& spec, StateDict weights);

}  // namespace linex
