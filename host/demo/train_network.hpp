// Trains a small network from scratch, in seconds, the same bytes every time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace linex {

/// What can be trained, each with the names its plugin reads.
enum class NetworkKind { resnet, vgg, vit };
const char* to_string(NetworkKind kind) noexcept;  ///< also the name of the plugin

struct TrainOptions {
  NetworkKind kind = NetworkKind::resnet;
  std::int64_t width = 16;  ///< channels of the first stage, which double twice; vit: of a token
  std::int64_t blocks = 1;  ///< resnet: blocks a stage; vgg: convolutions a stage; vit: all blocks
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

/// Options with which a kind learns the embedded world in seconds.
TrainOptions train_options(NetworkKind kind);

/// Heads and patch side of a vit of train_network().
inline constexpr std::int64_t kVitHeads = 4, kVitPatch = 8;

/// What to learn from. All of one length.
struct TrainingSet {
  torch::Tensor images;      ///< float32 (n, 3, s, s), normalised; vgg: s = 32; vit: s = 8·k
  torch::Tensor labels;      ///< int64 (n)
  torch::Tensor attributes;  ///< float32 (n, a) of 0 and 1; undefined: classes only
};

/// Weights by the name the plugin of that kind reads: a resnet as akamaster/pytorch_resnet_cifar10
/// calls them (option-A shortcuts), a vgg with batch norm as chenyaofo/pytorch-cifar-models, a vit
/// as torchvision. Stochastic gradients with momentum (vit: AdamW) and a one-cycle rate on
/// cross-entropy, plus, through a second linear head that is thrown away, binary cross-entropy on
/// the attributes: units then care about more than the classes need. Each chunk of a batch is one
/// thread's work and gradients are added in order, so the result does not depend on the thread
/// count. `step` is called after every batch with the loss, and may throw to stop.
std::map<std::string, torch::Tensor> train_network(
    const TrainingSet& data, const TrainOptions& options,
    const std::function<void(std::int64_t images, double loss)>& step);

}  // namespace linex
