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

/// How much each of some concepts (n, E) says a text (E), float64 (n) in [0, 1]: the cosine above
/// the mean over all of the concepts (texts share a direction), divided by what is possible. Rows
/// of unit length.
torch::Tensor text_likeness(const torch::Tensor& text, const torch::Tensor& concepts);

}  // namespace linex
