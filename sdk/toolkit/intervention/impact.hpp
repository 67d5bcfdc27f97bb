// Where in its activation range does a unit matter, and which units are dead? (docs/methods.md
// §1.11, §1.13)
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "toolkit/intervention/variant_runner.hpp"

namespace linex {

/// The published shares of images at which the impact is reported.
inline constexpr double kImpactCuts[] = {0.0003, 0.002, 0.005, 0.02, 0.1, 0.5};

/// What removing a unit did to each image. All (n): losses float64, correctness uint8.
struct RemovalEffect {
  torch::Tensor loss, loss_without;
  torch::Tensor correct, correct_without;
};

/// impact_i = ½[(acc_i − acc'_i)/Σacc + (L'_i − L_i)/ΣL]; images sorted by `activation` (n)
/// descending, ties in row order. Returns the share of Σ|impact| in the first int(cut·n)+1 images
/// for each cut (the published index, inclusive); NaN where removing the unit changes nothing.
std::vector<double> impact_shares(const torch::Tensor& activation, const RemovalEffect& effect,
                                  const std::vector<double>& cuts);

/// impact_shares() of many units: sets each one's whole map to zero on all rows. One result a unit,
/// each of cuts.size() shares. `activations` float32 (N, K). Where the rest of the network is
/// linear (and the pool average), logits are updated instead of run.
std::vector<std::vector<double>> measure_impact(const VariantJob& job,
                                                const torch::Tensor& activations,
                                                const std::vector<std::int64_t>& units,
                                                const std::vector<double>& cuts, double temperature,
                                                const PluginContext& context);

/// Units of float32 (N, K) activations that do not vary over all rows
/// (toolkit/math/column_stats.hpp, varies()): those that a solver calls dead. The published rule,
/// largest activation below 0.01, is about one scale of networks only.
std::vector<std::int64_t> dead_units(const torch::Tensor& activations,
                                     const std::vector<std::int64_t>& units);

}  // namespace linex
