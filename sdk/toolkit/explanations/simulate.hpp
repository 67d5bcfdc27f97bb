// Simulation: a unit's activation predicted from its explanation alone (docs/methods.md §1.8).
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/math/link.hpp"

namespace linex {

/// The link of a linear explanation: what its `text` names beside its terms; the identity where it
/// names none.
Link link_of(const Explanation& explanation);

/// Predicts activations of many units at once. Σ weight·presence(concept) + bias for a linear
/// explanation, through its link where it has one (link_of), presence(text) for a sentence.
/// Concepts may be formulas (concept_texts.hpp); what units share is looked up once.
class Simulation {
 public:
  /// `simulator` is attached to the data and outlives this object.
  Simulation(const std::vector<Explanation>& explanations, ConceptLabeler& simulator);

  /// ok, or why explanation i has no prediction (its own status, empty, unknown_concept).
  const std::vector<Status>& status() const { return status_; }
  /// First concept of explanation i that the simulator does not know, or "".
  const std::vector<std::string>& unknown() const { return unknown_; }

  /// Predicted activations float32 (rows, explanations); columns without a prediction are NaN.
  /// Presence is read tile by tile within `memory_bytes`.
  torch::Tensor predict(const Rows& rows, int threads, std::int64_t memory_bytes) const;
  /// Of explanations [begin, end) alone: (rows, end - begin). Reads only the concepts they use.
  torch::Tensor predict(const Rows& rows, std::size_t begin, std::size_t end, int threads,
                        std::int64_t memory_bytes) const;

 private:
  struct Column {
    std::vector<std::pair<std::int64_t, double>> terms;  // (column of presence_, weight)
    double bias = 0;
    Link link;
  };
  std::vector<Status> status_;
  std::vector<std::string> unknown_;
  std::vector<Column> columns_;
  std::shared_ptr<const Presence> presence_;  // of the distinct concepts used
};

/// Predicted and actual activations, float32 (rows, units) both, of explanations [begin, begin +
/// units).
using SimulatedBlock = std::function<void(std::size_t begin, const torch::Tensor& predicted,
                                          const torch::Tensor& actual)>;

/// Simulates all `explanations` on `rows`, in their order, as many at a time as a part of the
/// memory holds. A unit that `activations` (N, K) does not have gets the status unknown_unit in
/// `status` and the activations of another.
void simulate_all(const Simulation& simulation, const std::vector<Explanation>& explanations,
                  const torch::Tensor& activations, const Rows& rows, const PluginContext& context,
                  std::vector<Status>& status, const SimulatedBlock& block);
/// The same of those in `share` alone; `status` is of all.
void simulate_share(const Simulation& simulation, const std::vector<Explanation>& explanations,
                    Share share, const torch::Tensor& activations, const Rows& rows,
                    const PluginContext& context, std::vector<Status>& status,
                    const SimulatedBlock& block);

}  // namespace linex
