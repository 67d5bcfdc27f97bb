// Which model plugin reads a checkpoint, from the names in it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"

namespace linex {

/// Networks that one plugin of the box reads.
struct NetworkFamily {
  std::string plugin;
  /// find_network()'s: all names of one of these sets are in every checkpoint of the family.
  std::vector<std::vector<std::string>> anchors;
  std::vector<std::string> absent = {};  ///< names that no checkpoint of the family has
};

/// All families, in the order in which they are looked for: one whose names may be part of
/// another's comes later.
const std::vector<NetworkFamily>& network_families();
/// The anchors of the family of `plugin`, which is one of network_families().
const std::vector<std::vector<std::string>>& family_anchors(const std::string& plugin);

/// The plugin for the checkpoint at `path` (load_weights()): "torchscript" for an archive of
/// torch.jit.save, which holds its own graph, unless its tensors are CLIP's towers; else that of
/// the first family whose names are there. Throws Error(input): names of no family, or what
/// load_weights() throws.
std::string find_model_plugin(const std::filesystem::path& path, const std::string& state = "");

}  // namespace linex
