#include "core/world/trained_world.hpp"

#include "core/base/files.hpp"
#include "core/data/loader.hpp"
#include "core/net/image_model.hpp"
#include "core/net/safetensors.hpp"
#include "linex/error.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

// Raise it when training changes for the same options.
constexpr const char* kVersion = "world network 1";

std::string key_of(const World& world, const TrainOptions& train) {
  std::string text = kVersion + (" " + world.fingerprint());
  for (const double value : {static_cast<double>(train.width), static_cast<double>(train.blocks),
                             static_cast<double>(train.epochs), static_cast<double>(train.batch),
                             static_cast<double>(train.chunk), train.learning_rate, train.momentum,
                             train.weight_decay, train.attribute_loss})
    text += " " + std::to_string(value);
  return Sha256().add(text + " " + std::to_string(train.seed)).hex().substr(0, 32);
}

TrainingSet load_training_set(const World& world, int threads) {
  Rows rows(static_cast<std::size_t>(world.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  return {load_batch(world, rows, world_preprocess(), threads),
          torch::tensor(world.labels(), torch::kInt64), world.attributes()};
}

}  // namespace

Preprocess world_preprocess() {
  Preprocess preprocess;
  preprocess.mean = kImageNetMean;
  preprocess.std = kImageNetStd;
  return preprocess;
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
  const TrainingSet data = load_training_set(world, train.threads);
  const auto progress =
      context.progress("training the demo network", world.size() * train.epochs, "images");
  const auto weights = train_resnet(data, train, [&](std::int64_t images, double) {
    check_cancelled(context);
    progress->advance(images);
  });
  write_safetensors(file, weights);
  return file;
}

}  // namespace linex
