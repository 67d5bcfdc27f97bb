// The elastic net of many units on the same concepts, from second moments.
#pragma once

#include <cstdint>
#include <vector>

#include "toolkit/math/gram.hpp"

namespace linex {

/// minimise ½·mean((y − Xw)²) + l1·‖w‖₁ + ½·l2·‖w‖² over w (docs/methods.md §1.5.3)
struct ElasticNetOptions {
  double l1 = 0.05;                ///< λα
  double l2 = 0.01 * 0.05 / 0.99;  ///< λ(1 − α)
  double gap = 1e-6;               ///< stop at a duality gap of gap·½·mean(y²)
  bool non_negative = false;       ///< also w ≥ 0
  std::int64_t max_sweeps = 20000;

  /// The published convention: λ is divided by max(0.001, α) before it is used.
  static ElasticNetOptions published(double lambda, double alpha);
};

/// One unit's data: q = Xᵀy/n (C values, lent) and mean(y²), for centred y.
struct UnitMoments {
  const double* q = nullptr;
  double mean_square = 0;
};

/// A sparse solution. `index` ascends; objective and gap are in units of y².
struct SparseFit {
  std::vector<std::int64_t> index;
  std::vector<double> weight;  ///< none of them zero
  double objective = 0;
  double gap = 0;  ///< objective minus a lower bound of the optimum
  std::int64_t sweeps = 0;
  bool converged = false;
};

/// Solves every unit, starting from `warm` (empty, or one fit a unit). Units are independent and
/// each is solved by one thread. Rows of `gram` are required as the units reach them.
///
/// Method: coordinate descent with covariance updates on a small working set, closed by an exact
/// solve once the signs are settled; then the gradient of all concepts is refreshed, those that
/// violate the optimality conditions join the set, and the duality gap decides.
std::vector<SparseFit> fit_elastic_net(Gram& gram, const std::vector<UnitMoments>& units,
                                       const ElasticNetOptions& options, int threads,
                                       const std::vector<SparseFit>& warm = {});

/// Concepts by signed weight, descending; zeros keep their order between positive and negative
/// ones (docs/methods.md §1.5.6). The first `count` of them.
std::vector<std::int64_t> ranking(const SparseFit& fit, std::int64_t concepts, std::int64_t count);

}  // namespace linex
