#include "core/world/train_resnet.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/base/random.hpp"
#include "linex/data.hpp"

namespace linex {
namespace {

constexpr double kEpsilon = 1e-5;  // torch.nn.BatchNorm2d's defaults
constexpr double kStatisticsMomentum = 0.1;

torch::Tensor normal(Random& random, std::vector<std::int64_t> shape, double scale) {
  torch::Tensor values = torch::empty(shape);
  float* out = values.data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(scale * random.normal());
  return values;
}

/// Mean and unbiased variance of every normalised layer in one forward pass.
using Statistics = std::vector<std::pair<torch::Tensor, torch::Tensor>>;

/// The network's parameters, in the order forward() meets them.
class Net {
 public:
  Net(const TrainOptions& options, std::int64_t classes, std::int64_t attributes)
      : blocks_(options.blocks) {
    Random random(options.seed);
    std::int64_t channels = options.width;
    add_conv(random, "conv1", "bn1", 3, channels);
    for (int stage = 0; stage < 3; ++stage)
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::string name =
            "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
        const std::int64_t out = options.width << stage;
        add_conv(random, name + "conv1", name + "bn1", channels, out);
        add_conv(random, name + "conv2", name + "bn2", out, out);
        channels = out;
      }
    add_linear(random, "linear", channels, classes);
    if (attributes > 0) add_linear(random, "attributes", channels, attributes);
  }

  std::vector<torch::Tensor>& parameters() { return parameters_; }

  /// Class logits and, with a second head, attribute logits.
  std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& images,
                                                  Statistics& statistics) const {
    std::size_t next = 0;
    torch::Tensor x = torch::relu(conv_bn(images, 1, next, statistics));
    for (int stage = 0; stage < 3; ++stage)
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::int64_t stride = stage > 0 && block == 0 ? 2 : 1;
        torch::Tensor y = torch::relu(conv_bn(x, stride, next, statistics));
        y = conv_bn(y, 1, next, statistics);
        x = torch::relu(y + (stride == 2 ? option_a(x) : x));
      }
    const torch::Tensor pooled = x.mean({2, 3});
    const auto head = [&](std::size_t at) {
      return torch::linear(pooled, parameters_[at], parameters_[at + 1]);
    };
    return {head(next), next + 2 < parameters_.size() ? head(next + 2) : torch::Tensor()};
  }

  /// Moves the running statistics towards those of one batch (the mean over its chunks).
  void update_statistics(const std::vector<Statistics>& chunks) {
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

  std::map<std::string, torch::Tensor> weights() const {
    std::map<std::string, torch::Tensor> named;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (names_[i].rfind("attributes", 0) != 0) named[names_[i]] = parameters_[i].detach().clone();
    for (std::size_t i = 0; i < running_.size(); ++i) {
      named[norms_[i] + ".running_mean"] = running_[i].first.clone();
      named[norms_[i] + ".running_var"] = running_[i].second.clone();
    }
    return named;
  }

 private:
  void add(const std::string& name, torch::Tensor value) {
    names_.push_back(name);
    parameters_.push_back(value.set_requires_grad(true));
  }

  void add_conv(Random& random, const std::string& conv, const std::string& norm, std::int64_t in,
                std::int64_t out) {
    add(conv + ".weight",
        normal(random, {out, in, 3, 3}, std::sqrt(2.0 / (9.0 * static_cast<double>(in)))));
    add(norm + ".weight", torch::ones({out}));
    add(norm + ".bias", torch::zeros({out}));
    norms_.push_back(norm);
  }

  void add_linear(Random& random, const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", normal(random, {out, in}, std::sqrt(1.0 / static_cast<double>(in))));
    add(name + ".bias", torch::zeros({out}));
  }

  torch::Tensor conv_bn(const torch::Tensor& x, std::int64_t stride, std::size_t& next,
                        Statistics& statistics) const {
    const torch::Tensor y = torch::conv2d(x, parameters_[next], {}, stride, 1);
    // Momentum 1 leaves this batch's own statistics in the buffers.
    torch::Tensor mean = torch::zeros({y.size(1)}), variance = torch::ones({y.size(1)});
    const torch::Tensor out = std::get<0>(torch::native_batch_norm(
        y, parameters_[next + 1], parameters_[next + 2], mean, variance, true, 1.0, kEpsilon));
    statistics.emplace_back(mean, variance);
    next += 3;
    return out;
  }

  /// Every second pixel, with zero channels on both sides (He et al. 2016, option A).
  static torch::Tensor option_a(const torch::Tensor& x) {
    const std::int64_t pad = x.size(1) / 2;
    return torch::constant_pad_nd(x.slice(2, 0, x.size(2), 2).slice(3, 0, x.size(3), 2),
                                  {0, 0, 0, 0, pad, pad});
  }

  std::int64_t blocks_;
  std::vector<std::string> names_, norms_;
  std::vector<torch::Tensor> parameters_;
  Statistics running_;
};

/// What one chunk of a batch contributes.
struct ChunkResult {
  std::vector<torch::Tensor> gradients;
  Statistics statistics;
  double loss = 0;
};

ChunkResult run_chunk(Net& net, const TrainingSet& data, const torch::Tensor& rows,
                      double attribute_loss) {
  const torch::AutoGradMode gradients(true);
  ChunkResult result;
  const auto [logits, attributes] =
      net.forward(data.images.index_select(0, rows), result.statistics);
  torch::Tensor loss = torch::cross_entropy_loss(logits, data.labels.index_select(0, rows));
  if (attributes.defined())
    loss = loss + attribute_loss * torch::binary_cross_entropy_with_logits(
                                       attributes, data.attributes.index_select(0, rows));
  result.gradients = torch::autograd::grad({loss}, net.parameters());
  result.loss = loss.item<double>();
  return result;
}

/// Up over the first fifth of the steps, then down to nothing (Smith 2018).
double learning_rate(const TrainOptions& options, std::int64_t step, std::int64_t steps) {
  const double at = (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
  return options.learning_rate * (at < 0.2 ? at / 0.2 : (1 - at) / 0.8);
}

}  // namespace

std::map<std::string, torch::Tensor> train_resnet(
    const TrainingSet& data, const TrainOptions& options,
    const std::function<void(std::int64_t images, double loss)>& step) {
  const std::int64_t n = data.images.size(0);
  const std::int64_t classes = data.labels.max().item<std::int64_t>() + 1;
  Net net(options, classes, data.attributes.defined() ? data.attributes.size(1) : 0);
  auto& parameters = net.parameters();
  std::vector<torch::Tensor> velocity;
  for (const auto& parameter : parameters) velocity.push_back(torch::zeros_like(parameter));

  // Whole chunks only: a batch-norm over two images would disturb the others.
  const std::int64_t chunk = std::min(options.chunk, n);
  const std::int64_t chunks = std::max<std::int64_t>(options.batch / chunk, 1);
  const std::int64_t steps_an_epoch = std::max<std::int64_t>(n / (chunk * chunks), 1);
  const std::int64_t steps = steps_an_epoch * options.epochs;
  Rows order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Random random = Random::stream(options.seed, 1);
  for (std::int64_t done = 0; done < steps; ++done) {
    if (done % steps_an_epoch == 0) random.shuffle(order);
    const std::int64_t first = done % steps_an_epoch * chunks * chunk;
    const std::int64_t used = std::min(chunks, n / chunk);
    std::vector<ChunkResult> results(static_cast<std::size_t>(used));
    parallel_for(used, options.threads, [&](std::int64_t i) {
      const torch::Tensor rows = torch::from_blob(
          &order[static_cast<std::size_t>(first + i * chunk)], {chunk}, torch::kInt64);
      results[static_cast<std::size_t>(i)] = run_chunk(net, data, rows, options.attribute_loss);
    });

    const torch::NoGradGuard no_gradients;
    const double rate = learning_rate(options, done, steps);
    double loss = 0;
    std::vector<Statistics> statistics;
    for (auto& result : results) {
      loss += result.loss / static_cast<double>(used);
      statistics.push_back(std::move(result.statistics));
    }
    net.update_statistics(statistics);
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      torch::Tensor gradient = results[0].gradients[p].clone();
      for (std::size_t i = 1; i < results.size(); ++i) gradient.add_(results[i].gradients[p]);
      gradient.div_(static_cast<double>(used)).add_(parameters[p], options.weight_decay);
      velocity[p].mul_(options.momentum).add_(gradient);
      parameters[p].sub_(velocity[p], rate);
    }
    step(used * chunk, loss);
  }
  return net.weights();
}

}  // namespace linex
