// Linear explanations of units from their regression: rank, search, refit, report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/solver.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/elastic_net.hpp"
#include "toolkit/math/held_out.hpp"
#include "toolkit/math/regression.hpp"
#include "toolkit/math/search.hpp"

namespace linex {

struct LinearOptions {
  double lambda = 0.05;  ///< divided by max(0.001, alpha), as published
  double alpha = 0.99;
  double gap = 1e-6;      ///< stop at a duality gap of gap·½·mean(y²)
  std::int64_t path = 0;  ///< values of lambda tried from 1 down to `lambda`; 0: that one alone
  SearchOptions search;
};

/// Says which concepts the regression left out: figures "concepts_kept" and "concepts_rare" of the
/// report, and a message where rare ones were among them.
void report_concepts(const Regression& regression, std::size_t concepts, double min_presence,
                     Logger& log, SolveReport& report);

/// Units [begin, end) of the regression, in order. `fits[i]` ranked unit begin + i.
std::vector<Explanation> assemble(const Regression& regression,
                                  const std::vector<std::string>& concept_names, std::int64_t begin,
                                  const std::vector<SparseFit>& fits,
                                  const std::vector<Selection>& selections);

/// Ranking fits of units [begin, end): the elastic net at `lambda`, or of a path the one whose
/// predictions correlate best on the validation rows (the sparser of equals). Units that are dead
/// or constant get an empty converged fit.
std::vector<SparseFit> rank(Regression& regression, const HeldOut& validation, std::int64_t begin,
                            std::int64_t end, const LinearOptions& options, int threads);

/// rank, search and assemble for units [begin, end). What comes out for a unit does not depend on
/// the range it came in, given a complete Gram matrix. Selections are appended to `found` where it
/// is given.
std::vector<Explanation> explain(Regression& regression, const HeldOut& validation,
                                 const std::vector<std::string>& concept_names, std::int64_t begin,
                                 std::int64_t end, const LinearOptions& options, int threads,
                                 std::vector<Selection>* found = nullptr);

/// What the search reaches where there is nothing to find: mean correlations of up to `units` units
/// of the regression, spread evenly over it, whose activations are shuffled over the rows.
struct NoiseFloor {
  MeanSem val, test;       ///< over the units for which the search found terms
  double length = 0;       ///< mean of their terms; kNone where there are none
  std::int64_t units = 0;  ///< tried
};
NoiseFloor noise_floor(const Regression& regression, const LinearOptions& options,
                       std::int64_t units, std::uint64_t seed, int threads);

}  // namespace linex
