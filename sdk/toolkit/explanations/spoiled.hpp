// Concepts spoiled on purpose, to see whether a metric notices (docs/methods.md §5.1).
#pragma once

#include <cstdint>
#include <vector>

#include "linex/data.hpp"

namespace linex {

/// The concept's presence in [0, 1] behind a simulation of n rows: a single concept's own one; a
/// linear combination is stretched to [0, 1] over the rows, since metrics of rank, shape and
/// threshold need a common scale.
std::vector<float> presence_behind(const Explanation& explanation, const float* simulated,
                                   std::int64_t n);

/// Presence with each positive (from `threshold` on) dropped, set to 0, with probability ½.
std::vector<float> missing_labels(const float* presence, std::int64_t n, double threshold,
                                  std::uint64_t seed);
/// With each negative added, set to 1, with probability k/(n−k), k positives: doubles them.
std::vector<float> extra_labels(const float* presence, std::int64_t n, double threshold,
                                std::uint64_t seed);

/// A trial passes where (spoiled − original) / range < −kSanityDrop; a metric is reliable where at
/// least kSanityShare of the units pass with both.
inline constexpr double kSanityShare = 0.9;
inline constexpr double kSanityDrop = 1e-3;

}  // namespace linex
