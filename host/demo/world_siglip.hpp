// The embedded world's SigLIP: as it comes with linex, or trained anew.
#pragma once

#include <filesystem>

#include "host/demo/train_siglip.hpp"
#include "host/demo/world.hpp"
#include "linex/context.hpp"
#include "toolkit/concepts/sigmoid.hpp"

namespace linex {

/// How the world's SigLIP is made: on pictures that neither the network nor the explanations use.
struct WorldSiglipOptions {
  WorldOptions world{6400, 32, 0x51611b};
  SiglipTrainOptions train;  ///< seed and threads are taken from the run
};

/// A checkpoint folder for labeler.plugin=siglip, and the a and b of its presence.
struct WorldSiglip {
  std::filesystem::path weights;  ///< the vocabulary and configuration lie beside it
  Sigmoid sigmoid;                ///< fitted to the attributes of the pictures it was trained on
};

/// Writes the SigLIP that comes with linex (host/demo/siglip.safetensors, which is what
/// train_world_siglip() gives for the default options and seed 0) into `folder`.
WorldSiglip world_siglip(const std::filesystem::path& folder);

/// Trains the SigLIP on captions and parts of captions ("red", "striped circle on sand"), or finds
/// it in `cache` (not empty) under a key of all options. The defaults take minutes.
WorldSiglip train_world_siglip(const WorldSiglipOptions& options,
                               const std::filesystem::path& cache, const PluginContext& context);

}  // namespace linex
