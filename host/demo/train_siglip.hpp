// Trains a small SigLIP from scratch, in seconds, the same bytes every time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>

#include "toolkit/net/vision_text.hpp"

namespace linex {

struct SiglipTrainOptions {
  std::int64_t width = 64, heads = 4;  ///< of both towers
  std::int64_t image_layers = 2, text_layers = 1;
  std::int64_t patch = 4;
  std::int64_t epochs = 30;
  std::int64_t batch = 64;
  std::int64_t chunk = 64;  ///< images, and texts, one thread works on
  double learning_rate = 1.5e-3;
  double weight_decay = 0.02;
  std::uint64_t seed = 0;
  int threads = 1;
};

/// Pictures, and a supply of texts about them.
struct SiglipTrainingSet {
  torch::Tensor images;  ///< float32 (n, 3, s, s), normalised
  /// Token ids int64 (context) of a text about picture `row`; `draw` seeds the choice. `holds`
  /// says which pictures it is true of: uint8 (n).
  struct Text {
    torch::Tensor ids, holds;
  };
  std::function<Text(std::int64_t row, std::uint64_t draw)> text;
  std::int64_t context = 0, vocabulary = 0;
};

/// What the towers are: timm's and open_clip's SigLIP, small.
VisionTextConfig small_siglip(const SiglipTrainOptions& options, std::int64_t image_size,
                              std::int64_t context, std::int64_t vocabulary);

/// Weights in open_clip's names, with logit_scale and logit_bias. AdamW on the sigmoid loss (Zhai
/// et al. 2023) over all pairs of a batch; a pair is positive where the text holds in the picture,
/// whether it was written for it or not. Embeddings are made chunk by chunk and the loss's gradient
/// is carried back chunk by chunk, added in order, so the result does not depend on the thread
/// count. `step` is called after every batch with the loss, and may throw to stop.
StateDict train_siglip(const SiglipTrainingSet& data, const SiglipTrainOptions& options,
                       const std::function<void(std::int64_t images, double loss)>& step);

}  // namespace linex
