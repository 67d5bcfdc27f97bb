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
  swap,     ///< forward, and after each step replaces terms while that explains more
  exact     ///< swap, then the best terms of each of its lengths, proven where the budget allows
};
/// Throws std::logic_error for another word.
SearchKind search_from_string(const std::string& word);

struct SearchOptions {
  SearchKind kind = SearchKind::swap;
  std::int64_t max_length = 10;
  /// greedy: validation correlation a further term must add. forward and swap: growth ends at the
  /// first term that adds less than this, or than the price, to the training correlation.
  double tolerance = 0.02;
  /// forward and swap: what each term after the first costs. Below 0: 1.5 times `tolerance`.
  double price = -1;
  std::int64_t width = 10;  ///< greedy: candidates a step
  bool non_negative = false;
  std::int64_t exact_scans = 1000000;  ///< exact: budget of a unit and length (best_subset.hpp)
  double exact_seconds = 0;  ///< exact: ends sooner, for all units together; results then depend on
                             ///< the machine. 0: no such end

  double term_price() const { return price < 0 ? kPricePerTolerance * tolerance : price; }
  /// What a further term must add where terms are chosen on the training rows, in tolerances.
  /// Greedy takes the best of ten on validation and counts that luck as gain; without it the same
  /// tolerance would give longer explanations. Narrowed on generated problems and layers 1 and 2 of
  /// a CIFAR-10 ResNet-20; the last choice among three also looked at le_recorded and layer3, so
  /// only new seeds of tests/bench/search_quality are untouched evidence for it.
  static constexpr double kPricePerTolerance = 1.5;
};

/// What a search found at one length: Pearson's correlations of the fit.
struct LengthFound {
  std::int64_t terms = 0;
  double train = 0, val = kNone;
  /// exact: a correlation on the training rows that no set of as many terms exceeds, whether
  /// `train` is the highest there is, and what swap had found.
  double bound = kNone;
  bool certified = false;
  double by_swap = kNone;
};

/// The stop of forward and swap, in one sentence: of the lengths found, take the one whose
/// correlation (the mean of training and validation) less `price` for every term after the first
/// is highest; the shorter of equals. -1 where no length correlates on validation.
std::int64_t choose_length(const std::vector<LengthFound>& lengths, double price);

/// Terms of one unit, as positions in the regression, with raw weights of the least-squares refit
/// on the training rows. No terms: no concept has a positive validation correlation.
struct Selection {
  std::vector<std::int64_t> terms;
  std::vector<double> weight;
  double val_correlation = kNone;
  std::vector<LengthFound> lengths;  ///< forward and swap: what there was to choose from
};

/// Mean length and mean correlations over the units that have terms, had every unit been stopped at
/// another price.
struct FrontierPoint {
  double price = 0, length = kNone, train = kNone, val = kNone;
};
/// At `price` and others from two thirds of it to ten times it, ascending. Units that were not
/// searched by lengths are left out; empty where none was.
std::vector<FrontierPoint> frontier(const std::vector<Selection>& selections, double price);

/// Selections for units[i] of the regression, from `ranking_fits[i]` (used by none and greedy).
/// Weights are always least squares on the training rows; penalised weights only rank.
///
/// * greedy is docs/methods.md §1.6 with closed-form fits: while the explanation is shorter than
///   max_length, each of the first `width` ranked concepts not yet used or discarded is tried; one
///   that adds less than `tolerance` validation correlation is discarded for good (not in the first
///   step), else the best one is taken.
/// * forward and swap choose terms by the training rows alone, over all concepts, and a length by
///   choose_length(). A unit none of whose lengths correlates on validation is searched the greedy
///   way.
std::vector<Selection> search(Regression& regression, const HeldOut& validation,
                              const std::vector<std::int64_t>& units,
                              const std::vector<SparseFit>& ranking_fits,
                              const SearchOptions& options, int threads);

}  // namespace linex
