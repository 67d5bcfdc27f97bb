// A scan over all concepts beside one fitted model.
#pragma once

#include <cstdint>
#include <vector>

#include "toolkit/math/kernels.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/regression.hpp"

namespace linex {

/// What a scan reads, with the arrays that it points into.
class ModelScan {
 public:
  /// `fit` is of `terms`; `q`, (C) of the unit, and the regression live longer.
  ModelScan(const Regression& regression, const std::vector<std::int64_t>& terms,
            const TermFit& fit, const float* q, bool non_negative = false)
      : inverse_(fit.inverse.begin(), fit.inverse.end()),
        weight_(fit.weight.begin(), fit.weight.end()) {
    for (const std::int64_t j : terms) rows_.push_back(regression.gram->row(j));
    input_.terms = static_cast<int>(terms.size());
    input_.rows = rows_.data();
    input_.inverse = inverse_.data();
    input_.beta = weight_.data();
    input_.q = q;
    input_.diagonal = static_cast<float>(regression.diagonal());
    input_.concepts = regression.concept_count();
    input_.non_negative = non_negative;
  }
  ModelScan(const ModelScan&) = delete;
  ModelScan& operator=(const ModelScan&) = delete;

  const ScanInput& input() const { return input_; }

 private:
  std::vector<const float*> rows_;
  std::vector<float> inverse_, weight_;
  ScanInput input_;
};

}  // namespace linex
