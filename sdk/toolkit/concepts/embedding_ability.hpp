// Labelers that place images and texts in one space.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "linex/ability.hpp"

namespace linex {

/// An optional ability of a ConceptLabeler: its embeddings, rows of unit length.
class ImageTextEmbeddings {
 public:
  static constexpr char kAbility[] = "linex.image_text_embeddings/1";
  virtual ~ImageTextEmbeddings() = default;
  /// float32 (n, E), prompts filled in. Needs no attach().
  virtual torch::Tensor text_embeddings(const std::vector<std::string>& texts) const = 0;
  /// float32 (N, E) of the attached images.
  virtual torch::Tensor image_embeddings() const = 0;
};

}  // namespace linex
