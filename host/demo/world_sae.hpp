// A small sparse autoencoder of a layer of the embedded world's network.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "host/demo/world.hpp"
#include "linex/context.hpp"
#include "linex/model.hpp"

namespace linex {

struct SaeOptions {
  std::int64_t latents = 256;
  std::int64_t k = 8;  ///< latents active at a position
  std::int64_t epochs = 15;
  std::int64_t batch = 1024;  ///< positions
  double learning_rate = 2e-3;
  std::uint64_t seed = 0;
};

/// Trains a top-k autoencoder (Gao et al. 2024) on float32 (positions, D): AdamW on the squared
/// error, decoder rows of unit length, b_dec the mean of the positions. W_enc, b_enc, W_dec, b_dec
/// as SAELens names them. Same bytes for any thread count. `step` is called after every batch, and
/// may throw to stop.
std::map<std::string, torch::Tensor> train_sae(
    const torch::Tensor& positions, const SaeOptions& options,
    const std::function<void(std::int64_t positions)>& step);

struct WorldSae {
  std::filesystem::path folder;  ///< cfg.json and sae_weights.safetensors
  double explained = 0;          ///< share of the variance of pictures it has not seen
};

/// train_sae() on a fifth of the positions of `layer` for the pictures of `world`, from `cache`
/// (not empty), where it is kept under a key of everything it depends on.
WorldSae world_sae(TargetModel& network, const std::string& layer, const WorldOptions& world,
                   const SaeOptions& options, const std::filesystem::path& cache,
                   const PluginContext& context);

}  // namespace linex
