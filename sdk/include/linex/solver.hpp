// Solvers: explanations of all requested units at once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"

namespace linex {

/// What a solver asks the host to prepare; it gets just that.
struct SolverNeeds {
  bool presence = true;     ///< Problem::presence and concepts
  bool activations = true;  ///< Problem::activations
  bool model = false;       ///< Problem::model, layer and data (unit maps, exemplars)
};

/// The input of a solve. Everything is lent for the duration of solve().
struct Problem {
  std::vector<std::string> concepts;         ///< C names
  std::shared_ptr<const Presence> presence;  ///< (N, C)
  torch::Tensor activations;                 ///< float32 (N, K), all units of the layer
  std::vector<std::int64_t> units;           ///< columns of activations to explain, ascending
  std::size_t finished = 0;  ///< leading entries of `units` explained by an earlier run
  Split split;
  TargetModel* model = nullptr;
  std::string layer, pool;
  std::shared_ptr<const DataSet> data;
  ConceptLabeler* labeler = nullptr;
};

/// What a solve says about itself; the host puts it into summary.json.
struct SolveReport {
  std::map<std::string, double> timings_s;  ///< e.g. {"moments", 12.3}; the rest is "solve"
  std::map<std::string, double> figures;    ///< anything worth a number
};

/// Takes one block of finished explanations. Blocks come in the order of Problem::units; the host
/// stores each durably before it returns, so a killed run goes on after the last block.
using ExplanationSink = std::function<void(const std::vector<Explanation>&)>;

/// Explains units. Non-convergence, dead and constant units are a Status, never an exception.
class LINEX_API SparseSolver {
 public:
  virtual ~SparseSolver();
  SparseSolver() = default;
  SparseSolver(const SparseSolver&) = delete;
  SparseSolver& operator=(const SparseSolver&) = delete;

  virtual SolverNeeds needs() const { return {}; }
  /// Emits an explanation for each of units[finished..]. A unit's explanation must not depend on
  /// `finished` (fixed blocks over `units`), so that a resumed run ends in the same bytes.
  virtual SolveReport solve(const Problem& problem, const ExplanationSink& emit) = 0;
};

}  // namespace linex
