#include "toolkit/net/conv_blocks.hpp"

#include <algorithm>

#include "toolkit/net/map_ops.hpp"

namespace linex {

using Node = Network::Node;

Node bare_conv(NetworkBuilder& net, const std::string& name, Node x, const ConvNorm& spec) {
  ConvOptions options = spec.options;
  const std::int64_t width = spec.kernel_width > 0 ? spec.kernel_width : spec.kernel;
  const auto around = [&](std::int64_t kernel) {
    return spec.padded ? (kernel - 1) / 2 * options.dilation : 0;
  };
  options.padding = around(spec.kernel);
  options.padding_width = around(width);
  const torch::Tensor weight =
      net.parameter(name + ".weight", {spec.out, spec.in / options.groups, spec.kernel, width});
  return net.add(name, make_conv(weight, {}, options), {x});
}

ConvNorm read_conv(const StateDict& weights, const std::string& name, std::int64_t channels) {
  const auto size = [&](std::int64_t dimension) {
    return std::max<std::int64_t>(weights.size(name + ".weight", dimension), 1);
  };
  ConvNorm spec;
  spec.in = channels;
  spec.out = size(0);
  spec.kernel = size(2);
  spec.kernel_width = size(3);
  const std::int64_t inputs = size(1);
  if (inputs < channels && channels % inputs == 0) spec.options.groups = channels / inputs;
  return spec;
}

Node conv_norm(NetworkBuilder& net, const std::string& name, Node x, const ConvNorm& spec) {
  x = bare_conv(net, name + ".0", x, spec);
  x = net.batch_norm(name + ".1", x, spec.out, spec.eps);
  if (spec.activation) x = net.activation(name + ".2", x, *spec.activation);
  net.alias(name, x);
  return x;
}

Node conv_norm_act(NetworkBuilder& net, const std::string& conv, const std::string& norm, Node x,
                   const ConvNorm& spec) {
  x = bare_conv(net, conv, x, spec);
  const Node normal = net.batch_norm("", norm, x, spec.out, spec.eps);
  net.alias(norm + ".drop", normal);
  x = spec.activation ? net.activation(norm + ".act", normal, *spec.activation) : normal;
  if (!spec.activation) net.alias(norm + ".act", x);
  net.alias(norm, x);
  return x;
}

Node conv_bn(NetworkBuilder& net, const std::string& name, Node x, const ConvNorm& spec,
             bool timm) {
  if (timm) {
    x = conv_norm_act(net, name + ".conv", name + ".bn", x, spec);
  } else {
    x = bare_conv(net, name + ".conv", x, spec);
    x = net.batch_norm(name + ".bn", x, spec.out, spec.eps);
    if (spec.activation) x = net.activation("", x, *spec.activation);
  }
  net.alias(name, x);
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

bool called_as_timm(const std::string& names, const StateDict& weights) {
  if (names != "auto") return names == "timm";
  return static_cast<bool>(timm_config(weights.source));
}

std::int64_t head_classes(const StateDict& weights, const std::string& head) {
  const bool linear = weights.size(head + ".weight", 1) > 0;
  return linear ? weights.size(head + ".weight", 0) : 0;
}

BuiltNetwork finish_network(NetworkBuilder& net, const std::string& arch, Node output,
                            const std::string& head, std::int64_t classes,
                            const std::vector<std::string>& body) {
  BuiltNetwork built;
  built.has_logits = classes > 0;
  if (!built.has_logits) {
    const auto unused = net.skip_if([&](const std::string& name) {
      return std::none_of(body.begin(), body.end(), [&](const std::string& start) {
        return name.compare(0, start.size(), start) == 0;
      });
    });
    built.warnings.push_back(no_logits_note(net.weights(), head, unused));
  }
  built.network = net.finish(arch, output);
  built.arch = arch;
  built.fingerprint = net.fingerprint();
  built.notes = net.notes();
  built.classes = classes;
  return built;
}

}  // namespace linex
