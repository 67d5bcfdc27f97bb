// From the cosine of an image and a text to presence: σ(a·(cos + b)) (docs/methods.md §1.3).
#pragma once

#include <string>

#include "toolkit/net/vision_text_config.hpp"

namespace linex {

struct Sigmoid {
  double a = 1, b = 0;
};

struct KnownSigmoid {
  Sigmoid sigmoid;
  std::string model;   ///< what it was fitted for
  bool exact = false;  ///< whether that is the model asked about
};

/// The published parameters of this model, or those of the nearest one of its family.
KnownSigmoid published_sigmoid(const VisionTextConfig& model);

}  // namespace linex
