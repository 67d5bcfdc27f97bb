#include "toolkit/net/conv_blocks.hpp"

#include <algorithm>

#include "toolkit/net/map_ops.hpp"

namespace linex {

using Node = Network::Node;

namespace {

Node convolution(NetworkBuilder& net, const std::string& name, Node x, const ConvNorm& spec) {
  ConvOptions options = spec.options;
  options.padding = (spec.kernel - 1) / 2 * options.dilation;
  return net.conv(name, x, spec.in, spec.out, spec.kernel, options, false);
}

}  // namespace

Node conv_norm(NetworkBuilder& net, const std::string& name, Node x, const ConvNorm& spec) {
  x = convolution(net, name + ".0", x, spec);
  x = net.batch_norm(name + ".1", x, spec.out, spec.eps);
  if (spec.activation) x = net.activation(name + ".2", x, *spec.activation);
  net.alias(name, x);
  return x;
}

Node conv_norm_act(NetworkBuilder& net, const std::string& conv, const std::string& norm, Node x,
                   const ConvNorm& spec) {
  x = convolution(net, conv, x, spec);
  const Node normal = net.batch_norm("", norm, x, spec.out, spec.eps);
  net.alias(norm + ".drop", normal);
  x = spec.activation ? net.activation(norm + ".act", normal, *spec.activation) : normal;
  if (!spec.activation) net.alias(norm + ".act", x);
  net.alias(norm, x);
  return x;
}

Node squeeze_excite(NetworkBuilder& net, const std::string& name, Node x, std::int64_t channels,
                    const SqueezeNames& names, Activation activation, Activation gate) {
  const auto path = [&](const char* module) {
    return module ? name + "." + module : std::string();
  };
  const std::int64_t width =
      std::max<std::int64_t>(net.weights().size(path(names.reduce) + ".weight", 0), 1);
  Node y = net.add(path(names.pool), make_adaptive_avg_pool(1), {x});
  y = net.conv(path(names.reduce), y, channels, width, 1, {}, true);
  if (names.norm) net.alias(path(names.norm), y);
  y = net.activation(path(names.act), y, activation);
  y = net.conv(path(names.expand), y, width, channels, 1, {}, true);
  y = net.activation(path(names.gate), y, gate);
  return net.add(name, make_channel_gate(), {x, y});
}

}  // namespace linex
