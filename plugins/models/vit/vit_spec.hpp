// What distinguishes one vision transformer from another, from its weights and configuration.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "toolkit/net/image_model.hpp"
#include "toolkit/net/ops.hpp"
#include "vit_names.hpp"

namespace linex {

/// How a position embedding is brought to another number of patches: always bicubic.
struct PositionResize {
  bool align_corners = false, antialias = false;
  double offset = 0;  ///< added to the new side where the scale is computed (DINO's)
};

struct VitSpec {
  /// What of the last tokens the head reads. last_blocks: the class tokens of the last `probed`
  /// blocks and the mean of the patches, as DINOv2's linear probes.
  enum class Pool { token, mean, learnt, token_and_mean, last_blocks };

  std::string arch;
  VitNames names;
  std::int64_t patch = 16, layers = 12, width = 768, mlp = 3072;
  std::int64_t heads = 12;
  std::int64_t image = 224;       ///< side that the network takes
  std::int64_t trained_grid = 0;  ///< side, in patches, that its position embedding is for
  std::int64_t registers = 0;
  std::int64_t prefix_positions = 1;  ///< tokens before the patches that have a position
  bool class_token = true, distilled = false, gated = false;
  bool registers_after_positions = false;  ///< they come in between class token and patches, then
  double eps = 1e-6;                       ///< of layer normalisation
  Activation activation = Activation::gelu;
  Pool pool = Pool::token;
  std::int64_t probed = 0;
  std::int64_t pool_mlp = 0;        ///< width of the learnt pooling's MLP
  std::int64_t representation = 0;  ///< width of heads.pre_logits, 0 = none
  std::int64_t embed = 0;           ///< width of a tower's projection, 0 = none
  std::int64_t classes = 0;
  bool has_head = false;
  PositionResize positions;
  Preprocess preprocess;
  std::vector<std::string> notes;
  std::string guess;  ///< BuiltNetwork::guess

  std::int64_t grid() const { return image / patch; }
  /// Tokens before the patches.
  std::int64_t prefix() const { return (class_token ? 1 : 0) + (distilled ? 1 : 0) + registers; }
  bool is_tower() const {
    return names.library == VitNames::Library::open_clip ||
           names.library == VitNames::Library::hugging_face_clip;
  }
};

/// What the user says of a network.
struct VitChoices {
  std::string arch = "auto";             ///< or a name of torchvision's
  std::int64_t heads = 0;                ///< 0: as configured, else the published of that width
  std::optional<Activation> activation;  ///< nothing: as configured, else as published
  std::string pool = "auto";             ///< auto|token|avg
  std::int64_t image_size = 0;           ///< 0: that of the weights
  std::filesystem::path config;          ///< empty: config.json beside the weights
};

/// Reads names and shapes of `weights`, and what they do not tell from a configuration beside
/// `file` and from what the published networks of that library have. Throws Error(input) where the
/// weights are not those of a vision transformer, Error(usage) for choices that do not fit them.
VitSpec infer_vit(const NamedVit& vit, const std::filesystem::path& file,
                  const VitChoices& choices);

/// Sets the side of the images: another one than the weights' interpolates their position
/// embedding. Throws Error(usage) for one that patches do not tile.
void set_image_size(VitSpec& spec, std::int64_t side);

}  // namespace linex
