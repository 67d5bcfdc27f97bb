// Would an explanation come out again? Searches on resampled rows.
#pragma once

#include <cstdint>
#include <vector>

#include "toolkit/math/regression.hpp"
#include "toolkit/math/search.hpp"

namespace linex {

struct StabilityOptions {
  std::int64_t resamples = 50;
  std::uint64_t seed = 0;
  SearchOptions search;  ///< forward or swap
  int threads = 1;
};

/// A term of an explanation over the resamples.
struct TermStability {
  double frequency = 0;              ///< share of resamples whose search takes it
  double low = kNone, high = kNone;  ///< 95 % interval of its weight, of these terms refitted
};

struct UnitStability {
  std::vector<TermStability> terms;  ///< in the order of Selection::terms
  double jaccard = kNone;            ///< mean over resamples, of the terms then and now
};

/// Where the time went.
struct StabilitySeconds {
  double moments = 0;  ///< of the groups, of what the search looks at
  double search = 0;   ///< the rest
};

/// Stability of selections[i], the terms of units[i] of the regression. Units without terms have
/// none.
///
/// Method: the training rows and the validation rows are dealt at random into 32 groups each; a
/// resample draws as many groups with replacement, and its moments are sums of theirs (a block
/// bootstrap, blocks of exchangeable rows). It repeats the search and its stop among the concepts
/// that matter for the unit: its terms, the concepts that correlate most with it, and those that
/// would best follow or replace each term; at most 40. Both splits are read once more, these
/// concepts only. Same bytes whatever `threads` and whatever other units are asked for.
std::vector<UnitStability> stability(Regression& regression, const std::vector<std::int64_t>& units,
                                     const std::vector<Selection>& selections,
                                     const StabilityOptions& options,
                                     StabilitySeconds* seconds = nullptr);

}  // namespace linex
