// Networks as data: a topologically ordered list of named steps. Tapping, stopping early, replacing
// a layer's output and resuming after it need no code in the architectures.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "toolkit/net/execution.hpp"
#include "toolkit/net/ops.hpp"

namespace linex {

/// A feed-forward network in evaluation mode. Node 0 is the input. [any thread once built]
class Network {
 public:
  using Node = int;

  Network();

  /// Adds a step after its inputs; returns its node.
  Node add(OpPtr op, std::vector<Node> inputs);
  /// Lets `name` be tapped. Several names may mean one node (a block and its last module).
  void name(const std::string& name, Node node);
  void set_output(Node node) { output_ = node; }
  void to(const Placement& place);

  Node input() const { return 0; }
  Node output() const { return output_; }
  /// Names in order of computation.
  std::vector<std::string> layers() const;
  /// Node of a layer; `classifier[4]` means `classifier.4`. Throws Error(input) with near names.
  Node find(const std::string& layer) const;

  /// Values of `targets` for images (n, C, H, W) float32; computes nothing that they do not need.
  /// Results are float32 on the CPU, dense, and share no memory with the network.
  std::vector<torch::Tensor> run(const torch::Tensor& images, const std::vector<Node>& targets,
                                 const ExecutionOptions& options) const;

  /// The weights of the last map if everything after `node` is [average pooling, flattening and]
  /// one linear map; undefined otherwise.
  LinearWeights linear_head(Node node) const;

 private:
  friend class NetworkTail;
  struct Step {
    OpPtr op;
    std::vector<Node> inputs;
  };
  /// Values by node; undefined ones are computed on demand.
  using Values = std::vector<torch::Tensor>;

  /// Computes `targets` from the values given (which are kept and never overwritten).
  std::vector<torch::Tensor> evaluate(Values values, const std::vector<Node>& targets) const;
  /// Which nodes depend on `node`, itself included.
  std::vector<bool> dependents(Node node) const;
  /// Values from before `node` that its dependents on the way to the output read.
  std::vector<Node> carried(Node node) const;

  std::vector<Step> steps_;
  std::vector<std::pair<std::string, Node>> names_;
  Node output_ = 0;
};

/// What remains of a network after one layer, for one batch: keeps just the values that cross the
/// cut (residual branches).
class NetworkTail {
 public:
  /// Runs `network` (lent) up to `layer` on images (n, C, H, W).
  NetworkTail(const Network& network, Network::Node layer, const torch::Tensor& images,
              const ExecutionOptions& options);
  /// (n, ...) on the CPU.
  torch::Tensor activation() const;
  /// Logits (m·n, classes) for m stacked variants of the layer's output. Runs the kernels of
  /// Network::run on pieces of the same size, so that activation() gives its bits.
  torch::Tensor logits(const torch::Tensor& replaced) const;

 private:
  struct Piece {
    std::int64_t first = 0, count = 0;
    torch::Tensor activation;
    std::vector<torch::Tensor> carried;
  };
  const Network& network_;
  Network::Node layer_;
  ExecutionOptions options_;
  std::vector<Network::Node> carried_;
  std::vector<Piece> pieces_;
  std::int64_t images_ = 0;
};

}  // namespace linex
