// The published methods on the embedded world: one catalogue for the demo and the benchmark.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/demo/world.hpp"
#include "host/demo/world_siglip.hpp"

namespace linex {

/// Where the world's files and models are.
struct MethodFiles {
  std::filesystem::path world;  ///< what write_world() and write_texts() wrote
  std::filesystem::path milan;  ///< checkpoint
  std::filesystem::path
      featurizer;  ///< the network whose features MILAN sees; "": the one explained
  std::optional<WorldSiglip> siglip;  ///< none without SentencePiece
};

/// A method: keys of [labeler], [solver] and [simulator] (empty: the labeler itself).
struct WorldMethod {
  std::string name, folder;
  std::string concepts;  ///< in words
  std::map<std::string, std::string> labeler, solver, simulator;
};

/// Network Dissection, MILAN, CLIP-Dissect, LE(Label), LE(SigLIP), LE(attributes) and a single
/// concept, in this order, each simulated by concepts of its own kind. Without SigLIP, CLIP-Dissect
/// compares with the attributes instead and LE(SigLIP) is missing.
std::vector<WorldMethod> world_methods(const MethodFiles& files);

/// Formulas of concepts, which the benchmark adds: compositional explanations of labelled pixels
/// and inverse recognition of everything in the picture, both simulated by the latter.
std::vector<WorldMethod> formula_methods(const MethodFiles& files);

/// [simulator] of SigLIP's presence; `files` has one.
std::map<std::string, std::string> siglip_keys(const MethodFiles& files);

/// Words for SigLIP, attributes and class names, one a line: `folder`/texts.txt.
void write_texts(const World& world, const std::filesystem::path& folder);

}  // namespace linex
