#include "host/demo/train_network.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "host/demo/trainable_network.hpp"
#include "linex/data.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/net/adamw.hpp"

namespace linex {
namespace {

using torch::Tensor;

/// Stochastic gradients with momentum and decay, as torchvision trains ResNets and VGGs.
class Momentum {
 public:
  Momentum(std::vector<Tensor> parameters, const TrainOptions& options)
      : parameters_(std::move(parameters)), options_(options) {
    for (const Tensor& parameter : parameters_) velocity_.push_back(torch::zeros_like(parameter));
  }

  void step(std::vector<Tensor>& gradients, double rate) {
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      gradients[p].add_(parameters_[p], options_.weight_decay);
      velocity_[p].mul_(options_.momentum).add_(gradients[p]);
      parameters_[p].sub_(velocity_[p], rate);
    }
  }

 private:
  std::vector<Tensor> parameters_, velocity_;
  TrainOptions options_;
};

AdamWOptions adamw(const TrainOptions& options) {
  AdamWOptions adamw;
  adamw.beta1 = options.momentum;
  adamw.beta2 = 0.98;
  adamw.decay = options.weight_decay;
  adamw.decay_vectors = false;
  return adamw;
}

/// What one chunk of a batch contributes.
struct ChunkResult {
  std::vector<Tensor> gradients;
  NormStatistics statistics;
  double loss = 0;
};

ChunkResult run_chunk(const TrainableNetwork& net, const std::vector<Tensor>& parameters,
                      const TrainingSet& data, const Tensor& rows, double attribute_loss) {
  const torch::AutoGradMode gradients(true);
  ChunkResult result;
  const auto [logits, attributes] =
      net.forward(data.images.index_select(0, rows), result.statistics);
  Tensor loss = torch::cross_entropy_loss(logits, data.labels.index_select(0, rows));
  if (attributes.defined())
    loss = loss + attribute_loss * torch::binary_cross_entropy_with_logits(
                                       attributes, data.attributes.index_select(0, rows));
  result.gradients = torch::autograd::grad({loss}, parameters);
  result.loss = loss.item<double>();
  return result;
}

/// Means over the chunks, added in their order.
std::vector<Tensor> mean_gradients(std::vector<ChunkResult>& chunks) {
  std::vector<Tensor> mean;
  for (std::size_t p = 0; p < chunks[0].gradients.size(); ++p) {
    Tensor sum = chunks[0].gradients[p].clone();
    for (std::size_t i = 1; i < chunks.size(); ++i) sum.add_(chunks[i].gradients[p]);
    mean.push_back(sum.div_(static_cast<double>(chunks.size())));
  }
  return mean;
}

/// Up over the first fifth of the steps, then down to nothing (Smith 2018).
double learning_rate(const TrainOptions& options, std::int64_t step, std::int64_t steps) {
  const double at = (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
  return options.learning_rate * (at < 0.2 ? at / 0.2 : (1 - at) / 0.8);
}

}  // namespace

const char* to_string(NetworkKind kind) noexcept {
  return kind == NetworkKind::vgg ? "vgg" : kind == NetworkKind::vit ? "vit" : "resnet";
}

TrainOptions train_options(NetworkKind kind) {
  TrainOptions options;
  options.kind = kind;
  if (kind == NetworkKind::vgg) {
    options.epochs = 5;
    options.learning_rate = 0.05;
  }
  if (kind == NetworkKind::vit) {
    options.width = 64;
    options.blocks = 2;
    options.epochs = 10;
    options.batch = 64;
    options.chunk = 32;
    options.learning_rate = 2e-3;
    options.weight_decay = 0.05;
  }
  return options;
}

std::map<std::string, Tensor> train_network(
    const TrainingSet& data, const TrainOptions& options,
    const std::function<void(std::int64_t images, double loss)>& step) {
  const std::int64_t n = data.images.size(0);
  const auto net = make_trainable(options, data);
  const std::vector<Tensor> parameters = net->parameters();
  const bool adaptive = options.kind == NetworkKind::vit;
  Momentum momentum(adaptive ? std::vector<Tensor>() : parameters, options);
  AdamW adaptive_momentum(adaptive ? parameters : std::vector<Tensor>(), adamw(options));

  // Whole chunks only: a batch norm over two images would disturb the others.
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
      const Tensor rows = torch::from_blob(&order[static_cast<std::size_t>(first + i * chunk)],
                                           {chunk}, torch::kInt64);
      results[static_cast<std::size_t>(i)] =
          run_chunk(*net, parameters, data, rows, options.attribute_loss);
    });

    const torch::NoGradGuard no_gradients;
    auto gradients = mean_gradients(results);
    double loss = 0;
    std::vector<NormStatistics> statistics;
    for (auto& result : results) {
      loss += result.loss / static_cast<double>(used);
      statistics.push_back(std::move(result.statistics));
    }
    net->update_statistics(statistics);
    const double rate = learning_rate(options, done, steps);
    adaptive ? adaptive_momentum.step(gradients, rate) : momentum.step(gradients, rate);
    step(used * chunk, loss);
  }
  return net->weights();
}

}  // namespace linex
