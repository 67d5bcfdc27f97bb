// Networks with a graph behind their outputs, for train_network().
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host/demo/train_network.hpp"
#include "toolkit/base/random.hpp"

namespace linex {

/// Mean and unbiased variance of every batch norm in one forward pass, in order.
using NormStatistics = std::vector<std::pair<torch::Tensor, torch::Tensor>>;

/// Parameters by name, and the function they are of. forward() may run on several threads.
class TrainableNetwork {
 public:
  virtual ~TrainableNetwork();

  /// Class logits (n, classes) and, with a second head, attribute logits (n, attributes).
  std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& images,
                                                  NormStatistics& statistics) const;
  /// All parameters, in one order.
  std::vector<torch::Tensor> parameters() const;
  /// Moves the running statistics towards those of one batch (the mean over its chunks).
  void update_statistics(const std::vector<NormStatistics>& chunks);
  /// Copies of the parameters and running statistics, without the second head.
  std::map<std::string, torch::Tensor> weights() const;

 protected:
  explicit TrainableNetwork(std::uint64_t seed) : random_(seed) {}
  /// What both heads read, (n, d).
  virtual torch::Tensor features(const torch::Tensor& images, NormStatistics& statistics) const = 0;

  const torch::Tensor& parameter(const std::string& name) const { return parameters_.at(name); }
  /// Normal values of that deviation; 0 gives zeros.
  void add(const std::string& name, const std::vector<std::int64_t>& shape, double deviation);
  void add_linear(const std::string& name, std::int64_t in, std::int64_t out);
  /// A scale of ones and a shift of zeros.
  void add_norm(const std::string& name, std::int64_t width);
  /// A 3x3 convolution and its batch norm.
  void add_conv_norm(const std::string& conv, const std::string& norm, std::int64_t in,
                     std::int64_t out, bool bias);
  /// The class head, and the second one where attributes > 0.
  void add_heads(const std::string& name, std::int64_t in, std::int64_t classes,
                 std::int64_t attributes);

  torch::Tensor linear(const std::string& name, const torch::Tensor& x) const;
  torch::Tensor conv_norm(const std::string& conv, const std::string& norm, const torch::Tensor& x,
                          std::int64_t stride, NormStatistics& statistics) const;

 private:
  Random random_;
  std::map<std::string, torch::Tensor> parameters_;
  std::vector<std::string> norms_;  ///< batch norms, in order
  NormStatistics running_;
  std::string head_;
};

/// Random weights of the network that `options` describe, for `data`.
std::unique_ptr<TrainableNetwork> make_trainable(const TrainOptions& options,
                                                 const TrainingSet& data);

}  // namespace linex
