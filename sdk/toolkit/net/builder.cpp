#include "toolkit/net/builder.hpp"

#include "toolkit/net/map_ops.hpp"

namespace linex {

using torch::Tensor;
using Shape = std::vector<std::int64_t>;

Tensor NetworkBuilder::optional_parameter(const std::string& name, const Shape& shape) {
  return reader_.has(name) ? parameter(name, shape) : Tensor();
}

std::vector<std::string> NetworkBuilder::skip_if(
    const std::function<bool(const std::string&)>& unused) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights().tensors) {
    if (!unused(name)) continue;
    skip(name);
    names.push_back(name);
  }
  return names;
}

std::vector<std::string> NetworkBuilder::notes() const {
  std::vector<std::string> all = weights().notes;
  all.insert(all.end(), reader_.notes().begin(), reader_.notes().end());
  return all;
}

NetworkBuilder::Node NetworkBuilder::add(const std::string& name, OpPtr op,
                                         std::vector<Node> inputs) {
  const Node node = network_.add(std::move(op), std::move(inputs));
  if (!name.empty()) network_.name(name, node);
  return node;
}

NetworkBuilder::Node NetworkBuilder::conv(const std::string& name, Node x, std::int64_t in,
                                          std::int64_t out, std::int64_t kernel,
                                          ConvOptions options, bool bias) {
  const Tensor weight = parameter(name + ".weight", {out, in / options.groups, kernel, kernel});
  return add(name, make_conv(weight, bias ? parameter(name + ".bias", {out}) : Tensor(), options),
             {x});
}

NetworkBuilder::Node NetworkBuilder::batch_norm(const std::string& called, const std::string& name,
                                                Node x, std::int64_t channels, double eps) {
  const Tensor weight = parameter(name + ".weight", {channels});
  const Tensor bias = parameter(name + ".bias", {channels});
  const Tensor mean = parameter(name + ".running_mean", {channels});
  return add(called,
             make_batch_norm(weight, bias, mean, parameter(name + ".running_var", {channels}), eps),
             {x});
}

NetworkBuilder::Node NetworkBuilder::layer_norm(const std::string& name, Node x, std::int64_t width,
                                                double eps) {
  const Tensor weight = parameter(name + ".weight", {width});
  return add(name, make_layer_norm(weight, parameter(name + ".bias", {width}), eps), {x});
}

NetworkBuilder::Node NetworkBuilder::linear(const std::string& name, Node x, std::int64_t in,
                                            std::int64_t out, bool bias) {
  const Tensor weight = parameter(name + ".weight", {out, in});
  return add(name, make_linear(weight, bias ? parameter(name + ".bias", {out}) : Tensor()), {x});
}

NetworkBuilder::Node NetworkBuilder::channel_norm(const std::string& name, Node x,
                                                  std::int64_t width, double eps) {
  const Tensor weight = parameter(name + ".weight", {width});
  return add(name, make_channel_norm(weight, parameter(name + ".bias", {width}), eps), {x});
}

NetworkBuilder::Node NetworkBuilder::channel_linear(const std::string& name, Node x,
                                                    std::int64_t in, std::int64_t out, bool bias) {
  Shape shape{out, in};
  if (weights().size(name + ".weight", 3) > 0) shape.insert(shape.end(), 2, 1);
  const Tensor weight = parameter(name + ".weight", shape).view({out, in});
  return add(name, make_channel_linear(weight, bias ? parameter(name + ".bias", {out}) : Tensor()),
             {x});
}

NetworkBuilder::Node NetworkBuilder::activation(const std::string& name, Node x, Activation kind) {
  return add(name, make_activation(kind), {x});
}

NetworkBuilder::Node NetworkBuilder::self_attention(const std::string& name, Node x,
                                                    std::int64_t width, std::int64_t heads,
                                                    Tensor mask) {
  const Tensor in_weight = parameter(name + ".in_proj_weight", {3 * width, width});
  const Tensor in_bias = parameter(name + ".in_proj_bias", {3 * width});
  const Tensor out_weight = parameter(name + ".out_proj.weight", {width, width});
  const Tensor out_bias = parameter(name + ".out_proj.bias", {width});
  return add(name, make_attention(heads, in_weight, in_bias, out_weight, out_bias, std::move(mask)),
             {x});
}

namespace {
constexpr const char* kAdvice = "check model.arch (auto infers it)";
}  // namespace

void NetworkBuilder::check(const std::string& arch) const { reader_.check(arch, kAdvice); }

Network NetworkBuilder::finish(const std::string& arch, Node output) {
  reader_.finish(arch, kAdvice);
  network_.set_output(output);
  return std::move(network_);
}

Error foreign_weights(const StateDict& weights, const std::string& what, const std::string& name) {
  return input_error(weights.source + ": not the weights of " + what + " (no " + name +
                     "); it begins with " + first_name(weights) +
                     "; choose another model.plugin, or model.state");
}

}  // namespace linex
