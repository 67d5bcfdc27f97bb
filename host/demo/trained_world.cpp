#include "host/demo/trained_world.hpp"

#include <cstdio>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/net/image_model.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

// Raise it when training changes for the same options.
constexpr const char* kVersion = "world network 2";

std::string key_of(const World& world, const TrainOptions& train) {
  std::string text = std::string(kVersion) + " " + to_string(train.kind) + world.fingerprint();
  for (const double value : {static_cast<double>(train.width), static_cast<double>(train.blocks),
                             static_cast<double>(train.epochs), static_cast<double>(train.batch),
                             static_cast<double>(train.chunk), train.learning_rate, train.momentum,
                             train.weight_decay, train.attribute_loss})
    text += " " + std::to_string(value);
  return Sha256().add(text + " " + std::to_string(train.seed)).hex().substr(0, 32);
}

TrainingSet load_training_set(const World& world, NetworkKind kind, int threads) {
  Rows rows(static_cast<std::size_t>(world.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  return {load_batch(world, rows, world_preprocess(kind), threads),
          torch::tensor(world.labels(), torch::kInt64), world.attributes()};
}

}  // namespace

Preprocess world_preprocess(NetworkKind kind) {
  Preprocess preprocess;
  preprocess.mean = kind == NetworkKind::vgg ? kCifar100Mean : kImageNetMean;
  preprocess.std = kind == NetworkKind::vgg ? kCifar100Std : kImageNetStd;
  return preprocess;
}

std::map<std::string, std::string> world_model(NetworkKind kind, const fs::path& weights) {
  std::map<std::string, std::string> section{{"plugin", to_string(kind)},
                                             {"weights", weights.string()}};
  switch (kind) {
    case NetworkKind::resnet:
      section["layer"] = "layer3";
      break;
    case NetworkKind::vgg:
      section["layer"] = "features.14";  // the fourth stage's last ReLU
      break;
    case NetworkKind::vit:
      section["layer"] = "encoder.layers.encoder_layer_1";
      section["heads"] = std::to_string(kVitHeads);
      break;
  }
  // Weights do not tell how pixels were taken, and here it is known.
  const Preprocess preprocess = world_preprocess(kind);
  const auto numbers = [](const std::array<float, 3>& values) {
    char text[64];
    std::snprintf(text, sizeof text, "%.6g,%.6g,%.6g", values[0], values[1], values[2]);
    return std::string(text);
  };
  section["resize"] = section["crop"] = "0";
  section["mean"] = numbers(preprocess.mean);
  section["std"] = numbers(preprocess.std);
  return section;
}

fs::path world_network(const WorldNetworkOptions& options, const fs::path& cache,
                       const PluginContext& context) {
  const World world(options.world);
  TrainOptions train = options.train;
  train.seed = context.run().seed;
  train.threads = context.run().threads;
  const fs::path file = cache / "world" / (key_of(world, train) + ".safetensors");
  if (std::error_code ignored; fs::exists(file, ignored)) return file;

  fs::create_directories(file.parent_path());
  const TrainingSet data = load_training_set(world, train.kind, train.threads);
  const auto progress = context.progress(std::string("training a small ") + to_string(train.kind),
                                         world.size() * train.epochs, "images");
  const auto weights = train_network(data, train, [&](std::int64_t images, double) {
    check_cancelled(context);
    progress->advance(images);
  });
  write_safetensors(file, weights);
  return file;
}

}  // namespace linex
