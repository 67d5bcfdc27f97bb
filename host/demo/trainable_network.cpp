#include "host/demo/trainable_network.hpp"

#include <cmath>

namespace linex {
namespace {

using torch::Tensor;

// torch.nn.BatchNorm2d's defaults.
constexpr double kEpsilon = 1e-5;
constexpr double kStatisticsMomentum = 0.1;

const char* const kSecondHead = "attributes";

/// A shortcut without parameters: every second pixel, with zero channels on both
/// sides (He et al. 2016, option A).
Tensor option_a(const Tensor& x) {
  const std::int64_t pad = x.size(1) / 2;
  return torch::constant_pad_nd(x.slice(2, 0, x.size(2), 2).slice(3, 0, x.size(3), 2),
                                {0, 0, 0, 0, pad, pad});
}

/// What the heads of a network are to tell.
struct Targets {
  std::int64_t classes = 0, attributes = 0;
};

/// Three stages of residual blocks (He et al. 2016, §4.2).
class TrainableResNet final : public TrainableNetwork {
 public:
  TrainableResNet(const TrainOptions& options, const Targets& targets)
      : TrainableNetwork(options.seed), blocks_(options.blocks) {
    std::int64_t channels = options.width;
    add_conv_norm("conv1", "bn1", 3, channels, false);
    for (int stage = 0; stage < kStages; ++stage)
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::string name = block_name(stage, block);
        const std::int64_t out = options.width << stage;
        add_conv_norm(name + "conv1", name + "bn1", channels, out, false);
        add_conv_norm(name + "conv2", name + "bn2", out, out, false);
        channels = out;
      }
    add_heads("linear", channels, targets.classes, targets.attributes);
  }

 private:
  static constexpr int kStages = 3;

  static std::string block_name(int stage, std::int64_t block) {
    return "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
  }

  Tensor features(const Tensor& images, NormStatistics& statistics) const override {
    Tensor x = torch::relu(conv_norm("conv1", "bn1", images, 1, statistics));
    for (int stage = 0; stage < kStages; ++stage)
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::string name = block_name(stage, block);
        const std::int64_t stride = stage > 0 && block == 0 ? 2 : 1;
        Tensor y = torch::relu(conv_norm(name + "conv1", name + "bn1", x, stride, statistics));
        y = conv_norm(name + "conv2", name + "bn2", y, 1, statistics);
        x = torch::relu(y + (stride == 2 ? option_a(x) : x));
      }
    return x.mean({2, 3});
  }

  std::int64_t blocks_;
};

/// Five stages of convolutions, each halving the side, and two hidden linear maps.
class TrainableVgg final : public TrainableNetwork {
 public:
  TrainableVgg(const TrainOptions& options, const Targets& targets)
      : TrainableNetwork(options.seed), blocks_(options.blocks) {
    std::int64_t channels = 3;
    int index = 0;
    for (int stage = 0; stage < kStages; ++stage, ++index)
      for (std::int64_t block = 0; block < blocks_; ++block, index += 3) {
        const std::int64_t out = options.width << std::min(stage, 2);
        add_conv_norm(feature(index), feature(index + 1), channels, out, true);
        channels = out;
      }
    add_linear("classifier.0", channels, channels);
    add_linear("classifier.3", channels, channels);
    add_heads("classifier.6", channels, targets.classes, targets.attributes);
  }

 private:
  static constexpr int kStages = 5;

  static std::string feature(int index) { return "features." + std::to_string(index); }

  Tensor features(const Tensor& images, NormStatistics& statistics) const override {
    Tensor x = images;
    int index = 0;
    for (int stage = 0; stage < kStages; ++stage, ++index) {
      for (std::int64_t block = 0; block < blocks_; ++block, index += 3)
        x = torch::relu(conv_norm(feature(index), feature(index + 1), x, 1, statistics));
      x = torch::max_pool2d(x, 2);
    }
    x = torch::relu(linear("classifier.0", x.flatten(1)));
    return torch::relu(linear("classifier.3", x));
  }

  std::int64_t blocks_;
};

/// Encoder blocks with the norms before attention and multilayer perceptron (Dosovitskiy et al.
/// 2021); the heads read the class token.
class TrainableVit final : public TrainableNetwork {
 public:
  TrainableVit(const TrainOptions& options, const Targets& targets, std::int64_t side)
      : TrainableNetwork(options.seed), blocks_(options.blocks), width_(options.width) {
    const std::int64_t inputs = 3 * kVitPatch * kVitPatch, grid = side / kVitPatch;
    add("conv_proj.weight", {width_, 3, kVitPatch, kVitPatch},
        1 / std::sqrt(static_cast<double>(inputs)));
    add("conv_proj.bias", {width_}, 0);
    add("class_token", {1, 1, width_}, 0.02);
    add("encoder.pos_embedding", {1, grid * grid + 1, width_}, 0.02);
    const std::int64_t hidden = 2 * width_;
    for (std::int64_t block = 0; block < blocks_; ++block) {
      const std::string name = block_name(block);
      add_norm(name + "ln_1", width_);
      add(name + "self_attention.in_proj_weight", {3 * width_, width_},
          1 / std::sqrt(static_cast<double>(width_)));
      add(name + "self_attention.in_proj_bias", {3 * width_}, 0);
      add_linear(name + "self_attention.out_proj", width_, width_);
      add_norm(name + "ln_2", width_);
      add_linear(name + "mlp.0", width_, hidden);
      add_linear(name + "mlp.3", hidden, width_);
    }
    add_norm("encoder.ln", width_);
    add_heads("heads.head", width_, targets.classes, targets.attributes);
  }

 private:
  static std::string block_name(std::int64_t block) {
    return "encoder.layers.encoder_layer_" + std::to_string(block) + ".";
  }

  Tensor norm(const std::string& name, const Tensor& x) const {
    constexpr double kVitEpsilon = 1e-6;
    return torch::layer_norm(x, {width_}, parameter(name + ".weight"), parameter(name + ".bias"),
                             kVitEpsilon);
  }

  Tensor attention(const std::string& name, const Tensor& x) const {
    const std::int64_t n = x.size(0), tokens = x.size(1), depth = width_ / kVitHeads;
    const Tensor qkv =
        torch::linear(x, parameter(name + ".in_proj_weight"), parameter(name + ".in_proj_bias"))
            .view({n, tokens, 3, kVitHeads, depth})
            .permute({2, 0, 3, 1, 4});
    const Tensor scores =
        torch::matmul(qkv[0], qkv[1].transpose(2, 3)) / std::sqrt(static_cast<double>(depth));
    const Tensor mixed = torch::matmul(torch::softmax(scores, -1), qkv[2]);
    return linear(name + ".out_proj", mixed.transpose(1, 2).reshape({n, tokens, width_}));
  }

  Tensor features(const Tensor& images, NormStatistics&) const override {
    const Tensor patches =
        torch::conv2d(images, parameter("conv_proj.weight"), parameter("conv_proj.bias"), kVitPatch)
            .flatten(2)
            .transpose(1, 2);
    const Tensor first = parameter("class_token").expand({images.size(0), 1, width_});
    Tensor x = torch::cat({first, patches}, 1) + parameter("encoder.pos_embedding");
    for (std::int64_t block = 0; block < blocks_; ++block) {
      const std::string name = block_name(block);
      x = x + attention(name + "self_attention", norm(name + "ln_1", x));
      const Tensor y = torch::gelu(linear(name + "mlp.0", norm(name + "ln_2", x)));
      x = x + linear(name + "mlp.3", y);
    }
    return norm("encoder.ln", x).select(1, 0);
  }

  std::int64_t blocks_, width_;
};

}  // namespace

TrainableNetwork::~TrainableNetwork() = default;

std::pair<Tensor, Tensor> TrainableNetwork::forward(const Tensor& images,
                                                    NormStatistics& statistics) const {
  const Tensor x = features(images, statistics);
  const bool second = parameters_.count(std::string(kSecondHead) + ".weight") != 0;
  return {linear(head_, x), second ? linear(kSecondHead, x) : Tensor()};
}

std::vector<Tensor> TrainableNetwork::parameters() const {
  std::vector<Tensor> all;
  for (const auto& [name, value] : parameters_) all.push_back(value);
  return all;
}

void TrainableNetwork::update_statistics(const std::vector<NormStatistics>& chunks) {
  if (running_.empty()) {
    for (const auto& [mean, variance] : chunks[0])
      running_.emplace_back(torch::zeros_like(mean), torch::ones_like(variance));
  }
  const double share = kStatisticsMomentum / static_cast<double>(chunks.size());
  for (std::size_t i = 0; i < running_.size(); ++i) {
    running_[i].first.mul_(1 - kStatisticsMomentum);
    running_[i].second.mul_(1 - kStatisticsMomentum);
    for (const auto& chunk : chunks) {
      running_[i].first.add_(chunk[i].first, share);
      running_[i].second.add_(chunk[i].second, share);
    }
  }
}

std::map<std::string, Tensor> TrainableNetwork::weights() const {
  std::map<std::string, Tensor> named;
  for (const auto& [name, value] : parameters_)
    if (name.rfind(kSecondHead, 0) != 0) named[name] = value.detach().clone();
  for (std::size_t i = 0; i < running_.size(); ++i) {
    named[norms_[i] + ".running_mean"] = running_[i].first.clone();
    named[norms_[i] + ".running_var"] = running_[i].second.clone();
  }
  return named;
}

void TrainableNetwork::add(const std::string& name, const std::vector<std::int64_t>& shape,
                           double deviation) {
  Tensor values = torch::zeros(shape);
  if (deviation > 0) {
    float* out = values.data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i)
      out[i] = static_cast<float>(deviation * random_.normal());
  }
  parameters_[name] = values.set_requires_grad(true);
}

void TrainableNetwork::add_linear(const std::string& name, std::int64_t in, std::int64_t out) {
  add(name + ".weight", {out, in}, std::sqrt(1.0 / static_cast<double>(in)));
  add(name + ".bias", {out}, 0);
}

void TrainableNetwork::add_norm(const std::string& name, std::int64_t width) {
  parameters_[name + ".weight"] = torch::ones({width}).set_requires_grad(true);
  add(name + ".bias", {width}, 0);
}

void TrainableNetwork::add_conv_norm(const std::string& conv, const std::string& norm,
                                     std::int64_t in, std::int64_t out, bool bias) {
  add(conv + ".weight", {out, in, 3, 3}, std::sqrt(2.0 / (9.0 * static_cast<double>(in))));
  if (bias) add(conv + ".bias", {out}, 0);
  add_norm(norm, out);
  norms_.push_back(norm);
}

void TrainableNetwork::add_heads(const std::string& name, std::int64_t in, std::int64_t classes,
                                 std::int64_t attributes) {
  head_ = name;
  add_linear(name, in, classes);
  if (attributes > 0) add_linear(kSecondHead, in, attributes);
}

Tensor TrainableNetwork::linear(const std::string& name, const Tensor& x) const {
  return torch::linear(x, parameter(name + ".weight"), parameter(name + ".bias"));
}

Tensor TrainableNetwork::conv_norm(const std::string& conv, const std::string& norm,
                                   const Tensor& x, std::int64_t stride,
                                   NormStatistics& statistics) const {
  const auto bias = parameters_.find(conv + ".bias");
  const Tensor y = torch::conv2d(x, parameter(conv + ".weight"),
                                 bias == parameters_.end() ? Tensor() : bias->second, stride, 1);
  // Momentum 1 leaves this batch's own statistics in the buffers.
  Tensor mean = torch::zeros({y.size(1)}), variance = torch::ones({y.size(1)});
  const Tensor out = std::get<0>(torch::native_batch_norm(y, parameter(norm + ".weight"),
                                                          parameter(norm + ".bias"), mean, variance,
                                                          true, 1.0, kEpsilon));
  statistics.emplace_back(mean, variance);
  return out;
}

std::unique_ptr<TrainableNetwork> make_trainable(const TrainOptions& options,
                                                 const TrainingSet& data) {
  const Targets targets{data.labels.max().item<std::int64_t>() + 1,
                        data.attributes.defined() ? data.attributes.size(1) : 0};
  switch (options.kind) {
    case NetworkKind::vgg:
      return std::make_unique<TrainableVgg>(options, targets);
    case NetworkKind::vit:
      return std::make_unique<TrainableVit>(options, targets, data.images.size(2));
    default:
      return std::make_unique<TrainableResNet>(options, targets);
  }
}

}  // namespace linex
