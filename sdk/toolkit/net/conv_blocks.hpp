// Modules that convolutional networks share, under the names of torchvision and timm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "toolkit/net/builder.hpp"

namespace linex {

/// A convolution without bias, batch normalisation and perhaps an activation.
struct ConvNorm {
  std::int64_t in = 0, out = 0, kernel = 1;
  ConvOptions options;  ///< padding keeps the side where the stride is 1, unless `same`
  double eps = 1e-5;
  std::optional<Activation> activation;
};

/// torchvision's Conv2dNormActivation: `name`.0, .1 and .2.
Network::Node conv_norm(NetworkBuilder& net, const std::string& name, Network::Node x,
                        const ConvNorm& spec);
/// A convolution `conv` and timm's BatchNormAct2d `norm`, which is called after its activation;
/// `norm`.drop is what comes before.
Network::Node conv_norm_act(NetworkBuilder& net, const std::string& conv, const std::string& norm,
                            Network::Node x, const ConvNorm& spec);

/// Names of the modules of a squeeze and excitation; null: no module.
struct SqueezeNames {
  const char *pool, *reduce, *norm, *act, *expand, *gate;
};
inline constexpr SqueezeNames kTorchvisionSqueeze{"avgpool",    "fc1", nullptr,
                                                  "activation", "fc2", "scale_activation"};
inline constexpr SqueezeNames kTimmSqueeze{nullptr, "conv_reduce", nullptr,
                                           "act1",  "conv_expand", "gate"};

/// `channels` of a map times what their averages excite; the width between is read off the weights.
Network::Node squeeze_excite(NetworkBuilder& net, const std::string& name, Network::Node x,
                             std::int64_t channels, const SqueezeNames& names,
                             Activation activation, Activation gate);

}  // namespace linex
