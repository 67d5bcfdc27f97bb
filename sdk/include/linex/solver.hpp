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
#include "linex/pool.hpp"

namespace linex {

/// What a solver asks the host to prepare; it gets just that. Units, split, layer and pool are
/// always given.
struct SolverNeeds {
  bool presence = true;     ///< Problem::concepts and presence
  bool activations = true;  ///< Problem::activations
  bool model = false;       ///< Problem::model and data (unit maps, exemplars)
  bool labeler = false;     ///< Problem::labeler (its abilities: labels of pixels)
};

/// The input of a solve. The host owns everything and lends it for the duration of solve(); keep no
/// plain pointer. What was not asked for is empty, undefined or null.
struct Problem {
  std::vector<std::string> concepts;  ///< C names
  /// (N, C), C = concepts.size() > 0. Never null where needs().presence; valid as long as the run.
  std::shared_ptr<const Presence> presence;
  torch::Tensor activations;  ///< float32 (N, K), all units of the layer; not to be written to
  std::vector<std::int64_t> units;  ///< columns of activations to explain, ascending
  std::size_t finished = 0;         ///< leading entries of `units` explained by an earlier run
  Split split;
  /// Never null where needs().model; one of recorded activations has no images.
  TargetModel* model = nullptr;
  std::string layer;
  Pool pool = Pool::avg;
  /// Null, even where needs().model, for recorded activations without images. May be kept.
  std::shared_ptr<const DataSet> data;
  /// Attached. Null, even where needs().labeler, where the run has none.
  ConceptLabeler* labeler = nullptr;
};

/// All that a run can lend to a solver; the caller owns it.
struct ProblemParts {
  ConceptLabeler* labeler = nullptr;    ///< attached; may be null where presence is not asked for
  TargetModel* model = nullptr;         ///< may be null where the model is not asked for
  std::shared_ptr<const DataSet> data;  ///< null for recorded activations without images
  torch::Tensor activations;            ///< float32 (N, K)
  std::vector<std::int64_t> units;
  Split split;
  std::string layer;
  Pool pool = Pool::avg;
};

/// The problem for a solver with these needs: what it asked for and nothing else. The one way to
/// make one, for the host as for the conformance kit. Throws Error(usage) where it needs concepts
/// and there is no labeler or a model and there is none, Error(plugin) where the labeler's presence
/// does not have one column a concept, Error(input) where it names none.
LINEX_API Problem make_problem(const SolverNeeds& needs, const ProblemParts& parts);

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
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

}  // namespace linex
