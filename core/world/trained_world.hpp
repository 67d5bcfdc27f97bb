// The embedded world's network: trained once, then read from the cache.
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/world/train_resnet.hpp"
#include "core/world/world.hpp"
#include "linex/context.hpp"
#include "linex/model.hpp"

namespace linex {

/// How the world's ResNet is made. The network never sees the pictures that are explained later:
/// give those another WorldOptions::seed.
struct WorldNetworkOptions {
  WorldOptions world{3200, 32, 0x7ea};  ///< what it is trained on
  TrainOptions train;                   ///< seed and threads are taken from the run
};

/// Trains the network, or finds it in `cache` (not empty) under a key of all options. Returns a
/// safetensors file for model.plugin=resnet. The same bytes for the same options, whatever
/// run.threads is.
std::filesystem::path world_network(const WorldNetworkOptions& options,
                                    const std::filesystem::path& cache,
                                    const PluginContext& context);

/// The preprocessing the resnet plugin gives such weights.
Preprocess world_preprocess();

}  // namespace linex
