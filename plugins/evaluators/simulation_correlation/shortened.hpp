// How much correlation each further concept of explanations is worth, whoever made them.
#pragma once

#include <vector>

#include "linex/evaluator.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/moments.hpp"

namespace linex {

/// Explanations cut to so many concepts.
struct Shortened {
  std::int64_t most = 0;  ///< concepts that an explanation may keep
  double length = 0;      ///< mean of what they have
  MeanSem correlation;    ///< on the test rows
};

/// The frontier of the linear explanations among input.explanations, at 1 concept up to their
/// longest. An explanation loses its concepts one at a time, each time the one without which least
/// squares on the training rows explains most, and is fitted again on those rows. Left out are
/// explanations without a term, with a concept that the simulator does not know or that does not
/// vary on the training rows. Empty where all are.
std::vector<Shortened> shorten(const EvaluationInput& input, const MomentOptions& options);

}  // namespace linex
