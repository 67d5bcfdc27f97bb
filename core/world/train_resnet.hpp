// Trains a small CIFAR-style ResNet from scratch, in seconds, the same bytes every time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace linex {

struct TrainOptions {
  std::int64_t width = 16;  ///< channels of the first stage; doubles twice
  std::int64_t blocks = 1;  ///< residual blocks a stage (1: ResNet-8, 3: ResNet-20)
  std::int64_t epochs = 6;
  std::int64_t batch = 32;  ///< small: many steps learn more from few pictures
  std::int64_t chunk = 16;  ///< images one thread works on; batch norm is over a chunk
  double learning_rate = 0.15;
  double momentum = 0.9;
  double weight_decay = 5e-4;
  double attribute_loss = 1.0;  ///< weight of the second head's loss
  std::uint64_t seed = 0;
  int threads = 1;
};

/// What to learn from. All of one length.
struct TrainingSet {
  torch::Tensor images;      ///< float32 (n, 3, h, w), normalised
  torch::Tensor labels;      ///< int64 (n)
  torch::Tensor attributes;  ///< float32 (n, a) of 0 and 1; undefined: classes only
};

/// Weights by name, as akamaster/pytorch_resnet_cifar10 calls them (conv1, bn1,
/// layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}, linear; option-A shortcuts), so that the resnet plugin
/// reads them. SGD with momentum and a one-cycle rate on cross-entropy, plus, through a second
/// linear head that is thrown away, binary cross-entropy on the attributes: units then care about
/// more than the classes need. Each chunk of a batch is one thread's work and gradients are added
/// in order, so the result does not depend on the thread count. `step` is called after every batch
/// with the loss, and may throw to stop.
std::map<std::string, torch::Tensor> train_resnet(
    const TrainingSet& data, const TrainOptions& options,
    const std::function<void(std::int64_t images, double loss)>& step);

}  // namespace linex
