// The regression problem of a layer: all units on the same standardised concepts.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "toolkit/math/column_stats.hpp"
#include "toolkit/math/elastic_net.hpp"
#include "toolkit/math/gram.hpp"
#include "toolkit/math/held_out.hpp"
#include "toolkit/math/moments.hpp"

namespace linex {

struct RegressionOptions {
  /// As the published code: filter concepts and standardise targets over all rows, test included
  /// (docs/methods.md §1.16.5). Otherwise both see the training rows only.
  bool published = false;
  /// Least mean of a concept's five largest presences; rarer ones are left out.
  double min_presence = 0.5;
  MomentOptions moments;
};

/// What a regression is made of; lent for its whole life.
struct RegressionInput {
  const Presence& presence;
  torch::Tensor activations;        ///< float32 (N, all units)
  std::vector<std::int64_t> units;  ///< K columns of activations
  const Split& split;
};

/// Everything the fits need, and nothing of size N. Positions j in [0, C) and k in [0, K) count
/// kept concepts and asked units; `concepts[j]` and `units[k]` are their columns.
///
/// Standardised: x_j = (p_j − concept_mean)/concept_std and y_k = (a_k − unit_mean)/unit_std over
/// the training rows, std with n − 1. q and Q are their second moments divided by n.
class Regression {
 public:
  /// Reads the training rows twice (a first look decides which concepts are worth their products).
  /// Throws Error(input) for an empty train or val split, a value that is not finite, and where no
  /// concept is worth explaining with.
  Regression(const RegressionInput& input, const RegressionOptions& options, const Tick& tick = {});
  Regression(const Regression&) = delete;
  Regression& operator=(const Regression&) = delete;

  /// Rows the constructor reports to `tick` in total.
  static std::int64_t ticks(const RegressionInput& input, const RegressionOptions& options);

  std::int64_t concept_count() const { return static_cast<std::int64_t>(concepts.size()); }
  std::int64_t unit_count() const { return static_cast<std::int64_t>(units.size()); }
  /// Q_jj of a concept that varies: (n − 1)/n.
  double diagonal() const { return diagonal_; }
  UnitMoments moments_of(std::int64_t k) const;
  std::vector<UnitMoments> all_moments() const;
  /// Raw weight (activation per presence) of standardised weight w of concept j for unit k.
  double raw_weight(std::int64_t k, std::int64_t j, double w) const;
  /// Some rows of the same concepts and units.
  HeldOut held_out(const Rows& rows) const;
  /// The validation rows of them.
  HeldOut validation() const { return held_out(split_.val); }
  const Split& split() const { return split_; }

  /// Some of the units with their activations shuffled over the rows of each split: nothing is left
  /// to explain. Shares concepts and their Gram matrix with this regression, which must outlive it;
  /// reads the training rows once.
  std::unique_ptr<Regression> shuffled(const std::vector<std::int64_t>& units,
                                       std::uint64_t seed) const;

  /// Standardised values, column by column: concept used[c] at presence[c·n …], unit units[k] at
  /// activations[k·n …].
  struct Tile {
    std::vector<float> presence, activations;
  };
  /// Rows [begin, begin + n) of `rows`, which ascend.
  Tile standardised_tile(const Rows& rows, std::int64_t begin, std::int64_t n,
                         const std::vector<std::int64_t>& used,
                         const std::vector<std::int64_t>& units, int threads) const;

  /// Concepts that vary but stay below min_presence.
  std::int64_t rare_concepts() const { return rare_; }

  std::vector<std::int64_t> concepts, units;
  std::vector<double> concept_mean, concept_std;  ///< std 0: constant on the training rows
  std::vector<double> unit_mean;                  ///< over the training rows
  std::vector<double> target_mean;  ///< what the published standardisation subtracts; only moves
                                    ///< an intercept
  std::vector<double> unit_std;
  /// Of each unit: ok, dead (does not vary at all) or constant (not on the train or the val rows).
  std::vector<Status> status;
  torch::Tensor cross;  ///< q, float64 (K, C)
  std::vector<double> mean_square;
  std::shared_ptr<Gram> gram;  ///< Q; complete, or row by row where few units ask
  bool lazy = false;

 private:
  explicit Regression(const Split& split) : split_(split) {}
  void survey(const RegressionInput& input, const Tick& tick);
  void standardise(const Moments& moments);
  void scale_cross();
  void scale_rows(torch::Tensor& rows, const std::vector<std::int64_t>& of) const;

  RegressionOptions options_;
  void keep_concepts(const ColumnStats& look);

  double diagonal_ = 1;
  std::int64_t rare_ = 0;
  const Split& split_;
  const Presence* source_ = nullptr;
  torch::Tensor matrix_;
  RowSource presence_, train_presence_, activations_;
  ColumnReach presence_reach_, activation_reach_, activation_size_;  // the last around 0
};

}  // namespace linex
