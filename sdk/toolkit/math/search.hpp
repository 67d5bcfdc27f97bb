// From a ranking of concepts to a short explanation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "toolkit/math/elastic_net.hpp"
#include "toolkit/math/held_out.hpp"
#include "toolkit/math/regression.hpp"

namespace linex {

enum class SearchKind {
  none,     ///< the best-ranked max_length concepts, one fit
  greedy,   ///< published: each step tries the `width` best-ranked concepts on validation
  forward,  ///< each step adds the concept, of all, that explains most of the training rows
  swap      ///< forward, and after each step replaces terms while that explains more
};
/// Throws std::logic_error for another word.
SearchKind search_from_string(const std::string& word);

struct SearchOptions {
  SearchKind kind = SearchKind::swap;
  std::int64_t max_length = 10;
  double tolerance = 0.02;  ///< validation correlation a further term must add
  std::int64_t width = 10;  ///< greedy: candidates a step
  bool non_negative = false;
};

/// Terms of one unit, as positions in the regression, with raw weights of the least-squares refit
/// on the training rows. No terms: no concept has a positive validation correlation.
struct Selection {
  std::vector<std::int64_t> terms;
  std::vector<double> weight;
  double val_correlation = kNone;
};

/// Selections for units[i] of the regression, from `ranking_fits[i]` (used by none and greedy).
/// Weights are always least squares on the training rows; penalised weights only rank.
///
/// * greedy is docs/methods.md §1.6 with closed-form fits: while the explanation is shorter than
///   max_length, each of the first `width` ranked concepts not yet used or discarded is tried; one
///   that adds less than `tolerance` validation correlation is discarded for good (not in the first
///   step), else the best one is taken.
/// * forward and swap choose terms by the training rows alone, over all concepts. Of the lengths
///   they give, the one with the highest mean of training and validation correlation is taken,
///   where every term beyond the first costs 1.5 times `tolerance`. A unit none of whose lengths
///   correlates on validation is searched the greedy way.
std::vector<Selection> search(Regression& regression, const HeldOut& validation,
                              const std::vector<std::int64_t>& units,
                              const std::vector<SparseFit>& ranking_fits,
                              const SearchOptions& options, int threads);

}  // namespace linex
