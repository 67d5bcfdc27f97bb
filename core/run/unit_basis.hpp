// The basis that [units] names: units other than a layer's own.
#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/run/workplace.hpp"
#include "toolkit/units/basis_model.hpp"
#include "toolkit/units/pca.hpp"

namespace linex {

/// A basis from a file, or principal components of each layer, fitted when first asked for.
class UnitBasis : public std::enable_shared_from_this<UnitBasis> {
 public:
  /// `context` outlives it. No `file`: principal components.
  UnitBasis(std::shared_ptr<const units::Basis> file, double components,
            const PluginContext& context);

  /// In names of layers.
  const std::string& stem() const { return stem_; }
  /// Of a layer of the network, or of the recorded one.
  const units::Basis& of(const std::string& layer);

  /// `network` with layers LAYER@STEM; keeps this. Components are fitted on `train`.
  std::shared_ptr<TargetModel> attach(std::shared_ptr<TargetModel> network,
                                      std::shared_ptr<const DataSet> data, const Rows& train);
  /// The same for recorded activations, raw: (N, D), (N, T, D) or (N, D, H, W).
  void attach(const torch::Tensor& recorded, const std::string& fingerprint, const Rows& train);

  /// Throws Error(input) where the basis does not fit the layers, or their pooled units the memory.
  void check(TargetModel& network, const DataSet& data, const std::vector<std::string>& layers);
  void check(const torch::Tensor& first_row, const std::string& layer) const;

  /// Recorded activations in this basis, pooled: float32 (N, M). Where that is large beside
  /// run.memory, mapped from a file under run.cache.
  torch::Tensor pooled(const torch::Tensor& recorded, const std::string& layer, Pool pool);

 private:
  std::shared_ptr<const units::Basis> file_;
  double components_;
  const PluginContext& context_;
  std::string stem_, key_;  // key_: what the components of a layer depend on
  std::map<std::string, units::Basis> fitted_;
  std::function<void(const std::string& layer, units::CovarianceSum& sum)> fill_;
};

/// Null where [units] names none. Reads the file, tells what it found. Throws Error(usage) for keys
/// that do not go together, Error(input) for a file that is no basis.
std::shared_ptr<UnitBasis> open_unit_basis(Workplace& place);

}  // namespace linex
