// A small MILAN for the embedded world.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "host/demo/world.hpp"
#include "plugins/solvers/milan/featurizer.hpp"
#include "plugins/solvers/milan/milan.hpp"

namespace linex {

/// What people might say about units of the embedded world: each made-up unit responds to the
/// object, or the background, of pictures that share one or two attributes.
struct WorldUnits {
  std::vector<MaskedImages> images;  ///< 15 pictures each, masks at the pictures' size
  std::vector<std::vector<std::string>> captions;
};
/// Seeded; every attribute occurs equally often.
WorldUnits make_world_units(const World& world, std::int64_t count, std::uint64_t seed);

struct WorldMilanOptions {
  WorldOptions world{1200, 32, 0x51ab};  ///< its pictures; other ones than are explained
  std::vector<std::string> layers;       ///< of the featuriser; empty: default_feature_layers()
  std::int64_t units = 690;              ///< thirty an attribute
  std::int64_t epochs = 24;
};
/// Trains a MILAN on made-up units as `network` sees them. Same bytes for any thread count.
Milan train_world_milan(const std::shared_ptr<const World>& world, TargetModel& network,
                        const WorldMilanOptions& options, const PluginContext& context);
/// The same on options.world, from `cache`, where it is written under a key of everything it
/// depends on; the file.
std::filesystem::path world_milan(TargetModel& network, const WorldMilanOptions& options,
                                  const std::filesystem::path& cache, const PluginContext& context);

}  // namespace linex
