// Principal components of a layer as a basis (docs/units.md).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "linex/context.hpp"
#include "toolkit/units/basis.hpp"

namespace linex::units {

/// Mean and covariance of the positions of a layer, in one pass: sums in float64 around the mean of
/// what came first. The same bytes for any number of threads.
class CovarianceSum {
 public:
  explicit CovarianceSum(int threads) : threads_(threads) {}
  /// x: float32 (P, D).
  void add(const torch::Tensor& x);
  std::int64_t count() const { return count_; }
  torch::Tensor mean() const;        ///< float64 (D)
  torch::Tensor covariance() const;  ///< float64 (D, D), divided by count()

 private:
  int threads_;
  std::int64_t count_ = 0;
  torch::Tensor origin_, sum_, products_;
};

/// All D components of `sum`, by falling variance: f = (x − mean) · V, the entry of a component
/// that is largest in absolute value positive. `components` ≥ 1: that many; between 0 and 1: as
/// many as explain that share of the variance; 0: all. Throws Error(usage) for more than D,
/// Error(input) for fewer than two positions.
Basis pca_basis(const CovarianceSum& sum, double components, const std::string& source);

/// pca_basis() of what `fill` adds, kept under run.cache by `key`: fitted once.
Basis stored_pca(const std::string& key, double components, const std::string& source,
                 const PluginContext& context, const std::function<void(CovarianceSum&)>& fill);

}  // namespace linex::units
