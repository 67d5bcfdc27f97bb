// The seam under labelers that compare images with texts: a network that embeds both.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/model.hpp"
#include "toolkit/concepts/sigmoid.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {

/// Embeds images and texts into one space. EmbeddingLabeler (embedding_labeler.hpp) makes a labeler
/// of it: batches, caches, prompts, presence. Same input, same bytes, whatever the thread count.
class ImageTextModel {
 public:
  virtual ~ImageTextModel();
  ImageTextModel() = default;
  ImageTextModel(const ImageTextModel&) = delete;
  ImageTextModel& operator=(const ImageTextModel&) = delete;

  /// "SigLIP ViT-B/16-224" or the like, for messages.
  virtual std::string name() const = 0;
  /// E, the width of both embeddings.
  virtual std::int64_t width() const = 0;
  /// From pixels to what embed_images() takes.
  virtual Preprocess preprocess() const = 0;
  virtual Margin margin() const { return Margin::half_to_even; }
  /// float32 (n, 3, H, W), n >= 1, to float32 (n, E) on the CPU, of any length but zero.
  virtual torch::Tensor embed_images(const torch::Tensor& images) const = 0;
  /// n >= 1 texts (UTF-8), prompts filled in, to float32 (n, E) likewise.
  virtual torch::Tensor embed_texts(const std::vector<std::string>& texts) const = 0;

  /// Digest of weights and architecture; part of the keys of cached images and texts.
  virtual std::string fingerprint() const = 0;
  /// Digest of what only texts depend on: the vocabulary's file. Default: "", there is none.
  virtual std::string vocabulary_fingerprint() const { return {}; }

  /// Tokens that a text may have, 0 for any number, and whether `text` has more and is cut off.
  virtual std::int64_t context() const { return 0; }
  virtual bool is_cut(const std::string& /*text*/) const { return false; }
  /// Whether it computes in half precision; its embeddings are then stored as float16.
  virtual bool is_half() const { return false; }
  /// From cosines to presence where the user does not say.
  virtual KnownSigmoid sigmoid() const = 0;
};

}  // namespace linex
