// The embedded world's networks: trained once, then read from the cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "host/demo/train_network.hpp"
#include "host/demo/world.hpp"
#include "linex/context.hpp"
#include "linex/model.hpp"

namespace linex {

/// How a network of the world is made. The network never sees the pictures that are explained
/// later: give those another WorldOptions::seed.
struct WorldNetworkOptions {
  WorldOptions world{3200, 32, 0x7ea};  ///< what it is trained on
  TrainOptions train;                   ///< seed and threads are taken from the run
};

/// Trains the network, or finds it in `cache` (not empty) under a key of all options. Returns a
/// safetensors file for the plugin of that kind. The same bytes for the same options, whatever
/// run.threads is.
std::filesystem::path world_network(const WorldNetworkOptions& options,
                                    const std::filesystem::path& cache,
                                    const PluginContext& context);

/// The preprocessing the plugin gives such weights.
Preprocess world_preprocess(NetworkKind kind = NetworkKind::resnet);

/// The [model] section that reads such weights: plugin, options it cannot infer, and a layer late
/// in the network.
std::map<std::string, std::string> world_model(NetworkKind kind,
                                               const std::filesystem::path& weights);

}  // namespace linex
