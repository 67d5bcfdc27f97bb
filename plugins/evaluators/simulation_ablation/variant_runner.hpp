// Runs the rest of a network for many variants of a layer's output.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/evaluator.hpp"
#include "replacement.hpp"

namespace ablation {

/// One unit with other pooled values.
struct Variant {
  std::int64_t unit;
  torch::Tensor values;  ///< float32 (rows)
};

/// Cross-entropy of each image.
struct Losses {
  torch::Tensor plain;     ///< float32 (rows), nothing replaced
  torch::Tensor variants;  ///< float32 (variants, rows)
};

/// Throws Error(input) for a label outside [0, classes).
void check_labels(const torch::Tensor& labels, std::int64_t classes);

/// Walks over images batch by batch: up to the layer once, the rest once for each variant, several
/// variants stacked into one pass.
class VariantRunner {
 public:
  /// `input` and `context` outlive this object; input.model and input.data are set.
  VariantRunner(const linex::EvaluationInput& input, Fill fill,
                const linex::PluginContext& context);

  /// `labels` int64 (rows). Throws Error(input) for a label that is no class of the network.
  Losses losses(const std::string& title, const linex::Rows& rows, const torch::Tensor& labels,
                const std::vector<Variant>& variants, double temperature);

  /// Logits of the unchanged network, float32 (rows, classes).
  torch::Tensor plain_logits(const linex::Rows& rows);

 private:
  const linex::EvaluationInput& input_;
  const Fill fill_;
  const linex::PluginContext& context_;
  std::int64_t batch_;
};

}  // namespace ablation
