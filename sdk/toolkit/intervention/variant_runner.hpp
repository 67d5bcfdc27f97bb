// Runs the rest of a network for many variants of a layer's output.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/intervention/replacement.hpp"

namespace linex {

/// The layer to change, lent.
struct VariantJob {
  TargetModel& model;
  std::shared_ptr<const DataSet> data;
  std::string layer;
  Pool pool = Pool::avg;
  Fill fill = Fill::shift;
};

/// One unit with other pooled values.
struct Variant {
  std::int64_t unit;
  torch::Tensor values;  ///< float32 (rows)
};

/// What each image's logits came to.
struct VariantOutcome {
  torch::Tensor plain;             ///< log odds of the label, float64 (rows), nothing replaced
  torch::Tensor variants;          ///< float64 (variants, rows)
  torch::Tensor plain_correct;     ///< uint8 (rows): the label has the largest logit
  torch::Tensor variants_correct;  ///< uint8 (variants, rows)
};

/// Labels of `rows`, int64. Throws Error(input) where the data has none.
torch::Tensor labels_of(const DataSet& data, const Rows& rows);
/// Throws Error(input) for a label outside [0, classes).
void check_labels(const torch::Tensor& labels, std::int64_t classes);

/// Walks over images batch by batch: up to the layer once, the rest once for each variant, several
/// variants stacked into one pass. Where the context has a cluster, batches are dealt to its ranks,
/// which all call this and all know the outcome. `title` names the progress bar. Throws
/// Error(input) for a label that is no class of the network.
VariantOutcome run_variants(const std::string& title, const VariantJob& job, const Rows& rows,
                            const std::vector<Variant>& variants, double temperature,
                            const PluginContext& context);

/// Logits of the unchanged network, float32 (rows, classes); batches are dealt as above.
torch::Tensor plain_logits(const VariantJob& job, const Rows& rows, const PluginContext& context);

}  // namespace linex
