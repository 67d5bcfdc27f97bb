// What kind of vision-text model a checkpoint holds, from its names, shapes and configuration.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/net/clip_resnet.hpp"
#include "toolkit/net/transformer.hpp"

namespace linex {

struct VisionTextConfig {
  enum class Family { clip, siglip };
  Family family = Family::clip;
  Naming vision_naming = Naming::open_clip, text_naming = Naming::open_clip;
  std::string text_prefix;  ///< "", or "text." where open_clip keeps the text tower apart

  bool resnet = false;  ///< CLIP's ResNet instead of a vision transformer
  ClipResnetSize resnet_size;
  TransformerSize vision, text;
  std::int64_t patch = 0, image_size = 0, grid = 0;
  std::int64_t context = 0, vocabulary = 0;
  std::int64_t embed = 0;  ///< width of both embeddings
  std::array<float, 3> mean{}, std{};

  /// "SigLIP ViT-B/16-224" or the like, for messages and reports.
  std::string name() const;
};

struct VisionTextOverrides {
  std::string state;                     ///< load_weights()'s
  std::filesystem::path config;          ///< JSON; empty = beside the weights, where there is one
  std::optional<Activation> activation;  ///< of both towers
  std::int64_t image_size = 0;           ///< 0 = from the checkpoint
};

/// The tensors of a CLIP or SigLIP among those of a checkpoint (find_network()).
StateDict find_vision_text(StateDict weights);

/// Reads sizes from the checkpoint's shapes. What shapes do not tell (heads, activation, image size
/// where patches do not tile it) comes from `overrides`, then from an `open_clip_config.json` or
/// Hugging Face `config.json` beside the weights, then from what the published models of that
/// naming use: 64 channels a head (72 for SO400M), GELU for open_clip, tanh-approximated GELU for
/// Hugging Face SigLIP, quick GELU for OpenAI and Hugging Face CLIP. Throws Error(input) where the
/// file is neither CLIP nor SigLIP, lacks a tower or contradicts itself.
VisionTextConfig infer_config(const StateDict& weights, const std::filesystem::path& file,
                              const VisionTextOverrides& overrides);
/// The same for a checkpoint of which only the image tower is wanted: the text tower may be absent.
VisionTextConfig infer_vision_config(const StateDict& weights, const std::filesystem::path& file,
                                     const VisionTextOverrides& overrides);

/// The activation that configurations call `word` ("gelu", "quick_gelu", "gelu_pytorch_tanh", ...).
std::optional<Activation> activation_named(const std::string& word);

}  // namespace linex
