// Evaluators: scores of explanations, whoever made them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/pool.hpp"

namespace linex {

/// The input of an evaluation. The host owns everything and lends it for the duration of
/// evaluate(); keep no plain pointer.
struct EvaluationInput {
  std::vector<Explanation> explanations;
  torch::Tensor activations;  ///< float32 (N, K), all units of the layer; not to be written to
  Split split;
  /// Attached; predicts from the explanations' texts. Never null.
  ConceptLabeler* simulator = nullptr;
  /// Null for recorded activations without images; that of recorded ones with images runs nothing.
  TargetModel* model = nullptr;
  std::string layer;
  Pool pool = Pool::avg;
  /// Null for recorded activations without images. May be kept.
  std::shared_ptr<const DataSet> data;
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
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

}  // namespace linex
