// Ranks of a unit's activations, what they say of a set of images, and the search for the formula
// they tell best (docs/methods.md §2.5).
#pragma once

#include <vector>

#include "toolkit/math/formula_search.hpp"

namespace linex {

/// Of n images: mid-ranks from 1, and Σ (t³ − t) over groups of t equal activations.
struct ActivationRanks {
  std::vector<double> rank;
  double ties = 0;
  bool varies = false;
};
ActivationRanks activation_ranks(const std::vector<float>& activations);

/// Share of pairs of an image in the set and one outside of which the first has the higher
/// activation, ties counted half; NaN where either side is empty. `tally.weight` is the sum of
/// ranks.
double auroc(const SetTally& tally, double images);

/// Two-sided p-value of Mann and Whitney's U by the normal approximation, corrected for ties and
/// continuity; NaN where auroc() is.
double mann_whitney_p(const SetTally& tally, double images, double ties);

struct InvertOptions {
  std::int64_t beam = 3, length = 3;
  double least = 0.005, most = 0.5;  ///< share of images that a formula is true of
  std::int64_t limit = 0;            ///< concepts and negations to join with; 0: all
};

/// The formula of highest auroc() that the published beam search finds among `concepts`, sets of
/// images; no chain where none is true of a share of images that is allowed.
FoundFormula invert_formula(const std::vector<PlaceSet>& concepts, std::int64_t images,
                            const ActivationRanks& ranks, const InvertOptions& options);

}  // namespace linex
