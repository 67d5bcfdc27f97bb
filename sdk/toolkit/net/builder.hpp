// Builds networks from named weights and says which names do not fit.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/net/network.hpp"

namespace linex {

/// Adds torchvision-like modules to a network: a method called with name "layer1.0.conv1" reads
/// `layer1.0.conv1.weight` (and bias, ...) and makes the step tappable under that name. Weights
/// become float32 copies. Names that are missing, of another shape or never read are collected and
/// reported together by finish().
class NetworkBuilder {
 public:
  using Node = Network::Node;

  explicit NetworkBuilder(StateDict weights) : reader_(std::move(weights)) {}

  Node input() const { return network_.input(); }
  const StateDict& weights() const { return reader_.weights(); }

  /// Parameter of that name and shape; zeros after noting the problem when it does not fit.
  torch::Tensor parameter(const std::string& name, const std::vector<std::int64_t>& shape) {
    return reader_.parameter(name, shape);
  }
  /// parameter() where a weight of that name exists, undefined elsewhere.
  torch::Tensor optional_parameter(const std::string& name, const std::vector<std::int64_t>& shape);

  /// The network knows the name but does not need it.
  void skip(const std::string& name) { reader_.skip(name); }
  /// Skips all weights for which `unused(name)`; returns their names.
  std::vector<std::string> skip_if(const std::function<bool(const std::string&)>& unused);

  Node conv(const std::string& name, Node x, std::int64_t in, std::int64_t out, std::int64_t kernel,
            ConvOptions options, bool bias);
  Node batch_norm(const std::string& name, Node x, std::int64_t channels, double eps = 1e-5) {
    return batch_norm(name, name, x, channels, eps);
  }
  /// One whose weights are under `name` and which is called `called`.
  Node batch_norm(const std::string& called, const std::string& name, Node x, std::int64_t channels,
                  double eps);
  Node layer_norm(const std::string& name, Node x, std::int64_t width, double eps);
  Node linear(const std::string& name, Node x, std::int64_t in, std::int64_t out, bool bias = true);
  /// Layer normalisation of the channels of a map.
  Node channel_norm(const std::string& name, Node x, std::int64_t width, double eps);
  /// A linear map of the channels of a map; the weight may be that of a 1x1 convolution.
  Node channel_linear(const std::string& name, Node x, std::int64_t in, std::int64_t out,
                      bool bias = true);
  Node activation(const std::string& name, Node x, Activation kind);
  /// torch.nn.MultiheadAttention's in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias.
  Node self_attention(const std::string& name, Node x, std::int64_t width, std::int64_t heads,
                      torch::Tensor mask = {});
  /// Any other step; an empty name cannot be tapped.
  Node add(const std::string& name, OpPtr op, std::vector<Node> inputs);
  /// Another name for a node, e.g. a container module for its last child.
  void alias(const std::string& name, Node node) { network_.name(name, node); }

  /// WeightReader::check().
  void check(const std::string& arch) const;
  /// The network, with `output` as its logits. Throws Error(input) in one line if the weights do
  /// not fit `arch`.
  Network finish(const std::string& arch, Node output);
  /// Digest of architecture, names and values; defined after finish().
  const std::string& fingerprint() const { return reader_.fingerprint(); }
  /// Notes of the weights, and what finish() passed over.
  std::vector<std::string> notes() const;
  /// Other names for a node, e.g. of modules after it that do nothing in evaluation.
  void aliases(const std::vector<std::string>& names, Node node) {
    for (const std::string& name : names) network_.name(name, node);
  }

 private:
  WeightReader reader_;
  Network network_;
};

/// The error for weights of something else than `what` ("a ResNet"), which lack `name`.
Error foreign_weights(const StateDict& weights, const std::string& what, const std::string& name);

}  // namespace linex
