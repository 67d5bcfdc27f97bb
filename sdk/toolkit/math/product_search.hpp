// Explanations with products of two concepts as terms, and with a link (docs/methods.md §1.18).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "toolkit/math/link.hpp"
#include "toolkit/math/regression.hpp"
#include "toolkit/math/search.hpp"

namespace linex {

/// A concept of the regression, or the product of the presence of two.
struct ProductTerm {
  std::int64_t first = 0, second = -1;  ///< second −1: a concept alone

  std::int64_t concepts() const { return second < 0 ? 1 : 2; }
};

/// link(Σ weight·term + bias), raw.
struct ProductModel {
  std::vector<ProductTerm> terms;
  std::vector<double> weight;
  double bias = 0;
  Link link;
  double train = kNone, val = kNone;  ///< Pearson's correlations

  std::int64_t concepts() const;
};

struct ProductOptions {
  bool products = true;
  Link::Kind link = Link::Kind::identity;
  bool link_every_length = false;  ///< otherwise that of `chosen` alone is fitted
  SearchOptions search;            ///< its stop; length counts concepts
  int threads = 1;
  std::int64_t memory_bytes = std::int64_t{1} << 30;
};

struct ProductSelection {
  std::vector<ProductModel> lengths;  ///< the best found of 1, 2, … concepts
  ProductModel chosen;                ///< no terms: no concept has a positive correlation
};

/// For units[i] of the regression, from the terms of selections[i].
///
/// Method: a unit's candidates are its terms, the concepts that would follow them and those that
/// correlate most, 16 together, and the 20 products of two of them that explain most beside its
/// terms. The best set of each number of concepts grows from the best of one or two fewer, and is
/// improved by swaps, by the training rows; choose_length() takes one of them (without products: as
/// many as the unit has terms). Units without terms have none. A link's weights, bias and scale are
/// those of least squares on the training rows (Levenberg and Marquardt, from the sum without it);
/// it is left out where it does not raise the mean of the correlations on training and validation
/// rows. Both splits are read up to three times more. Same bytes whatever `threads` and whatever
/// other units are asked for.
std::vector<ProductSelection> search_products(Regression& regression,
                                              const std::vector<std::int64_t>& units,
                                              const std::vector<Selection>& selections,
                                              const ProductOptions& options);

/// The explanation of unit k by such a model; products written as formulas, the link as its text.
Explanation explanation_of(const Regression& regression,
                           const std::vector<std::string>& concept_names, std::int64_t k,
                           const ProductModel& model);

}  // namespace linex
