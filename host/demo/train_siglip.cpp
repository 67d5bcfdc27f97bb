#include "host/demo/train_siglip.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numeric>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/net/adamw.hpp"

namespace linex {
namespace {

using torch::Tensor;

Tensor normal(Random& random, const std::vector<std::int64_t>& shape, double deviation) {
  Tensor values = torch::empty(shape);
  float* value = values.data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    value[i] = static_cast<float>(deviation * random.normal());
  return values;
}

/// Random weights in open_clip's names.
class Initialiser {
 public:
  explicit Initialiser(std::uint64_t seed) : random_(Random::stream(seed, 0)) {}

  StateDict run(const VisionTextConfig& config) {
    weights_.source = "a SigLIP in training";
    const std::int64_t width = config.vision.width;
    const std::string trunk = "visual.trunk.";
    const std::int64_t inputs = 3 * config.patch * config.patch;
    add(trunk + "patch_embed.proj.weight", {width, 3, config.patch, config.patch},
        1 / std::sqrt(static_cast<double>(inputs)));
    add(trunk + "patch_embed.proj.bias", {width}, 0);
    add(trunk + "pos_embed", {1, config.grid * config.grid, width}, 0.02);
    for (std::int64_t i = 0; i < config.vision.layers; ++i) {
      const std::string block = trunk + "blocks." + std::to_string(i) + ".";
      norm(block + "norm1", width);
      linear(block + "attn.qkv", width, 3 * width);
      linear(block + "attn.proj", width, width);
      norm(block + "norm2", width);
      linear(block + "mlp.fc1", width, config.vision.mlp);
      linear(block + "mlp.fc2", config.vision.mlp, width);
    }
    norm(trunk + "norm", width);
    const std::string pool = trunk + "attn_pool.";
    add(pool + "latent", {1, 1, width}, 1 / std::sqrt(static_cast<double>(width)));
    linear(pool + "q", width, width);
    linear(pool + "kv", width, 2 * width);
    linear(pool + "proj", width, width);
    norm(pool + "norm", width);
    linear(pool + "mlp.fc1", width, config.vision.mlp);
    linear(pool + "mlp.fc2", config.vision.mlp, width);

    const std::int64_t text = config.text.width;
    add("text.token_embedding.weight", {config.vocabulary, text}, 0.5);
    add("text.positional_embedding", {config.context, text}, 0.02);
    for (std::int64_t i = 0; i < config.text.layers; ++i) {
      const std::string block = "text.transformer.resblocks." + std::to_string(i) + ".";
      norm(block + "ln_1", text);
      add(block + "attn.in_proj_weight", {3 * text, text}, 1 / std::sqrt(double(text)));
      add(block + "attn.in_proj_bias", {3 * text}, 0);
      linear(block + "attn.out_proj", text, text);
      norm(block + "ln_2", text);
      linear(block + "mlp.c_fc", text, config.text.mlp);
      linear(block + "mlp.c_proj", config.text.mlp, text);
    }
    norm("text.ln_final", text);
    linear("text.text_projection", text, config.embed);
    weights_.tensors["logit_scale"] = torch::full({1}, std::log(10.0), torch::kFloat);
    weights_.tensors["logit_bias"] = torch::full({1}, -3.0, torch::kFloat);
    return std::move(weights_);
  }

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape, double deviation) {
    weights_.tensors[name] = normal(random_, shape, deviation);
  }
  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {out, in}, 1 / std::sqrt(static_cast<double>(in)));
    add(name + ".bias", {out}, 0);
  }
  void norm(const std::string& name, std::int64_t width) {
    weights_.tensors[name + ".weight"] = torch::ones({width});
    weights_.tensors[name + ".bias"] = torch::zeros({width});
  }

  Random random_;
  StateDict weights_;
};

/// Up over the first tenth of the steps, then down along a cosine.
double schedule(std::int64_t step, std::int64_t steps) {
  const double at = (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
  return at < 0.1 ? at / 0.1 : 0.5 * (1 + std::cos(3.141592653589793 * (at - 0.1) / 0.9));
}

/// Names of one tower's parameters.
bool of_images(const std::string& name) { return name.compare(0, 7, "visual.") == 0; }

/// One tower's share of a step: embeddings with their graphs, then gradients, chunk by chunk.
template <class Forward>
class ChunkedTower {
 public:
  ChunkedTower(Forward forward, std::int64_t chunk, int threads)
      : forward_(std::move(forward)), chunk_(chunk), threads_(threads) {}

  /// Unit-length embeddings of `input`, without a graph.
  Tensor embed(const Tensor& input) {
    const std::int64_t n = input.size(0), chunks = (n + chunk_ - 1) / chunk_;
    parts_.assign(static_cast<std::size_t>(chunks), {});
    parallel_for(chunks, threads_, [&](std::int64_t c) {
      const torch::AutoGradMode gradients(true);
      const Tensor raw = forward_(input.narrow(0, c * chunk_, std::min(chunk_, n - c * chunk_)));
      parts_[static_cast<std::size_t>(c)] = raw / raw.norm(2, {1}, true);
    });
    std::vector<Tensor> values;
    for (const Tensor& part : parts_) values.push_back(part.detach());
    return at::cat(values);
  }

  /// Gradients of `parameters`, given the loss's for what embed() returned.
  std::vector<Tensor> gradients(const Tensor& of_embeddings,
                                const std::vector<Tensor>& parameters) {
    std::vector<std::vector<Tensor>> results(parts_.size());
    parallel_for(static_cast<std::int64_t>(parts_.size()), threads_, [&](std::int64_t c) {
      auto& part = parts_[static_cast<std::size_t>(c)];
      results[static_cast<std::size_t>(c)] = torch::autograd::grad(
          {part}, parameters, {of_embeddings.narrow(0, c * chunk_, part.size(0))});
      part = Tensor();
    });
    std::vector<Tensor> sum = results.at(0);
    for (std::size_t c = 1; c < results.size(); ++c)
      for (std::size_t p = 0; p < sum.size(); ++p) sum[p] = sum[p] + results[c][p];
    return sum;
  }

 private:
  Forward forward_;
  std::int64_t chunk_;
  int threads_;
  std::vector<Tensor> parts_;
};

}  // namespace

VisionTextConfig small_siglip(const SiglipTrainOptions& options, std::int64_t image_size,
                              std::int64_t context, std::int64_t vocabulary) {
  VisionTextConfig config;
  config.family = VisionTextConfig::Family::siglip;
  config.vision_naming = Naming::timm;
  config.text_prefix = "text.";
  config.patch = options.patch;
  config.image_size = image_size;
  config.grid = image_size / options.patch;
  config.vision = {options.width, options.image_layers, options.heads, 4 * options.width,
                   1e-6,          Activation::gelu};
  config.text = {options.width, options.text_layers, options.heads, 4 * options.width,
                 1e-6,          Activation::gelu};
  config.context = context;
  config.vocabulary = vocabulary;
  config.embed = options.width;
  config.mean = config.std = {0.5F, 0.5F, 0.5F};
  return config;
}

StateDict train_siglip(const SiglipTrainingSet& data, const SiglipTrainOptions& options,
                       const std::function<void(std::int64_t images, double loss)>& step) {
  const VisionTextConfig config =
      small_siglip(options, data.images.size(2), data.context, data.vocabulary);
  StateDict weights = Initialiser(options.seed).run(config);
  std::vector<Tensor> image_parameters, text_parameters;
  for (auto& [name, tensor] : weights.tensors) {
    if (name.compare(0, 6, "logit_") == 0) continue;
    tensor.set_requires_grad(true);
    (of_images(name) ? image_parameters : text_parameters).push_back(tensor);
  }
  const VisionText model(weights, config, true);
  ChunkedTower images([&](const Tensor& x) { return model.vision().forward(x); }, options.chunk,
                      options.threads);
  ChunkedTower texts([&](const Tensor& x) { return model.text().forward(x); }, options.chunk,
                     options.threads);
  Tensor& scale = weights.tensors["logit_scale"];
  Tensor& bias = weights.tensors["logit_bias"];
  AdamWOptions decayed, plain;
  decayed.beta2 = plain.beta2 = 0.98;
  decayed.decay = options.weight_decay;
  decayed.decay_vectors = false;
  AdamW image_optimiser(image_parameters, decayed), text_optimiser(text_parameters, decayed),
      scale_optimiser({scale, bias}, plain);

  const std::int64_t n = data.images.size(0), batch = std::min(options.batch, n);
  const std::int64_t steps_an_epoch = n / batch, steps = steps_an_epoch * options.epochs;
  Rows order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Random random = Random::stream(options.seed, 1);
  for (std::int64_t done = 0; done < steps; ++done) {
    if (done % steps_an_epoch == 0) random.shuffle(order);
    const auto first = order.begin() + done % steps_an_epoch * batch;
    const Tensor rows = torch::tensor(Rows(first, first + batch), torch::kInt64);
    std::vector<Tensor> ids, holds;
    for (std::int64_t i = 0; i < batch; ++i) {
      const auto text = data.text(first[i], random.next());
      ids.push_back(text.ids);
      holds.push_back(text.holds.index_select(0, rows));
    }
    const torch::NoGradGuard no_gradients;
    const Tensor x = images.embed(data.images.index_select(0, rows));
    const Tensor y = texts.embed(at::stack(ids));
    const Tensor positive = at::stack(holds, 1).to(torch::kFloat);  // (images, texts)

    // Σ softplus(∓logit) over all pairs, per image: its slope in a logit is σ(logit) − positive.
    const double temperature = std::exp(scale.item<double>());
    const Tensor cosine = x.matmul(y.t()), logits = cosine * temperature + bias;
    const Tensor slope = (at::sigmoid(logits) - positive) / static_cast<double>(batch);
    const double loss = (at::softplus(logits) - logits * positive).sum().item<double>() /
                        static_cast<double>(batch);
    const auto image_gradients = images.gradients(slope.matmul(y) * temperature, image_parameters);
    const auto text_gradients = texts.gradients(slope.t().matmul(x) * temperature, text_parameters);
    const double rate = options.learning_rate * schedule(done, steps);
    image_optimiser.step(image_gradients, rate);
    text_optimiser.step(text_gradients, rate);
    scale_optimiser.step(
        {(slope * cosine).sum().reshape({1}) * temperature, slope.sum().reshape({1})}, rate);
    step(batch, loss);
  }
  for (auto& [name, tensor] : weights.tensors) tensor = tensor.detach().clone();
  return weights;
}

}  // namespace linex
