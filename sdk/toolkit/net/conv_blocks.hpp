// Modules that convolutional networks share, under the names of torchvision and timm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "toolkit/net/builder.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {

/// A convolution without bias, batch normalisation and perhaps an activation.
struct ConvNorm {
  std::int64_t in = 0, out = 0, kernel = 1;
  std::int64_t kernel_width = 0;  ///< 0: as `kernel`
  ConvOptions options;            ///< padding is set by `padded`
  bool padded = true;             ///< keeps the side where the stride is 1
  double eps = 1e-5;
  std::optional<Activation> activation;
};

/// Channels, kernel and groups of the convolution `name` of `channels` as its weight tells them.
ConvNorm read_conv(const StateDict& weights, const std::string& name, std::int64_t channels);

/// The convolution alone.
Network::Node bare_conv(NetworkBuilder& net, const std::string& name, Network::Node x,
                        const ConvNorm& spec);
/// torchvision's Conv2dNormActivation: `name`.0, .1 and .2.
Network::Node conv_norm(NetworkBuilder& net, const std::string& name, Network::Node x,
                        const ConvNorm& spec);
/// A convolution `conv` and timm's BatchNormAct2d `norm`, which is called after its activation;
/// `norm`.drop is what comes before.
Network::Node conv_norm_act(NetworkBuilder& net, const std::string& conv, const std::string& norm,
                            Network::Node x, const ConvNorm& spec);

/// `name`.conv and `name`.bn, called as torchvision's BasicConv2d, whose activation is no module,
/// or as timm's ConvNormAct.
Network::Node conv_bn(NetworkBuilder& net, const std::string& name, Network::Node x,
                      const ConvNorm& spec, bool timm);

/// Names of the modules of a squeeze and excitation; null: no module.
struct SqueezeNames {
  const char *pool, *reduce, *norm, *act, *expand, *gate;
};
inline constexpr SqueezeNames kTorchvisionSqueeze{"avgpool",    "fc1", nullptr,
                                                  "activation", "fc2", "scale_activation"};
inline constexpr SqueezeNames kTimmSqueeze{nullptr, "conv_reduce", nullptr,
                                           "act1",  "conv_expand", "gate"};
inline constexpr SqueezeNames kTimmSqueezeModule{nullptr, "fc1", "bn", "act", "fc2", "gate"};

/// `channels` of a map times what their averages excite; the width between is read off the weights.
Network::Node squeeze_excite(NetworkBuilder& net, const std::string& name, Network::Node x,
                             std::int64_t channels, const SqueezeNames& names,
                             Activation activation, Activation gate);

/// Whether weights under names that torchvision and timm share are to be called as timm does:
/// as `names` says (auto, torchvision, timm); auto: where timm's configuration lies beside them.
bool called_as_timm(const std::string& names, const StateDict& weights);

/// Classes of the linear map `head`; 0: there is none.
std::int64_t head_classes(const StateDict& weights, const std::string& head);
/// The network with `output` as its logits, or without any where `classes` is 0: then all tensors
/// but those of the `body` may be another head's, and a warning tells so. No preprocessing yet.
/// Throws Error(input) when the weights do not fit.
BuiltNetwork finish_network(NetworkBuilder& net, const std::string& arch, Network::Node output,
                            const std::string& head, std::int64_t classes,
                            const std::vector<std::string>& body);

}  // namespace linex
