// Correlations of linear models with activations on rows that did not fit them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "toolkit/math/row_source.hpp"
#include "toolkit/math/sparse_columns.hpp"

namespace linex {

/// activation ≈ Σ weight·presence + anything constant, as positions in a HeldOut's sources.
struct LinearModel {
  std::int64_t unit = 0;
  std::vector<std::int64_t> terms;
  std::vector<double> weight;
};

/// The rows of one split, kept in memory column by column where they fit, else read again for every
/// call. Activations that are mostly zeros are kept as what is not.
class HeldOut {
 public:
  /// Sources are lent for the life of the object. Values are taken relative to the shifts (as long
  /// as the sources are wide), which must be near the means.
  HeldOut(const RowSource& presence, const std::vector<double>& presence_shift,
          const RowSource& activations, const std::vector<double>& activation_shift, Rows rows,
          std::int64_t memory_bytes, int threads);

  /// Pearson correlation of each model's prediction with its unit; NaN where either is constant or
  /// the model has no terms. Sums are float64; same bytes for any thread count.
  std::vector<double> correlation(const std::vector<LinearModel>& models) const;

 private:
  struct Tile {
    std::int64_t rows = 0;
    torch::Tensor presence, activations;  // float32 (columns, rows); one may be missing
    SparseColumns sparse;                 // activations as they are, where those are missing
  };
  struct Sums;
  std::int64_t tiles() const;
  Tile load(std::int64_t tile, bool sparse) const;
  void add(const Tile& tile, const LinearModel& model, Sums& sums) const;

  const RowSource& presence_;
  const RowSource& activations_;
  std::vector<float> presence_shift_, activation_shift_;
  Rows rows_;
  int threads_;
  std::vector<Tile> kept_;
};

}  // namespace linex
