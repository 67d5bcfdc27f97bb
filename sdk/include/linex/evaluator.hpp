// Evaluators: scores of explanations, whoever made them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"

namespace linex {

/// The input of an evaluation. Everything is lent for the duration of evaluate().
struct EvaluationInput {
  std::vector<Explanation> explanations;
  torch::Tensor activations;  ///< float32 (N, K), all units of the layer
  Split split;
  ConceptLabeler* simulator = nullptr;  ///< attached; predicts from the explanations' texts
  TargetModel* model = nullptr;         ///< null for recorded activations
  std::string layer, pool;
  std::shared_ptr<const DataSet> data;  ///< null for recorded activations
};

class LINEX_API Evaluator {
 public:
  virtual ~Evaluator();
  Evaluator() = default;
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  /// One or more score columns over input.explanations. A unit that cannot be scored gets kNone and
  /// a status; only unusable input as a whole throws.
  virtual std::vector<ScoreColumn> evaluate(const EvaluationInput& input) = 0;
};

}  // namespace linex
