// Stages 3 to 5: concepts and activations to explanations to scores, for one layer.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cluster/run_cluster.hpp"
#include "core/run/stage_clock.hpp"
#include "linex/context.hpp"
#include "linex/evaluator.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/solver.hpp"

namespace linex {

/// A plugin object and how messages call it ("solver/linear").
template <class Interface>
struct Named {
  std::shared_ptr<Interface> object;
  std::string name;
};

/// What the stages work on; everything was opened and checked before.
struct LayerJob {
  Named<TargetModel> model;
  std::shared_ptr<const DataSet> data;  ///< null for recorded matrices
  std::string layer;
  Pool pool = Pool::avg;
  torch::Tensor activations;        ///< float32 (N, K)
  std::vector<std::int64_t> units;  ///< to explain, ascending
  Split split;
  const RunCluster& cluster;
};

/// Explains job.units with `solver` over the labeler's concepts, on all ranks where it shares its
/// work, else on rank 0; every rank ends with the same. Finished blocks go to `journal`, a file of
/// rank 0's; blocks found there from an interrupted run with the same `key` are not solved again.
/// Adds "concepts", "moments" and "solve" to `clock` and the solver's figures to `figures`.
std::vector<Explanation> explain(const LayerJob& job, const Named<ConceptLabeler>& labeler,
                                 const Named<SparseSolver>& solver,
                                 const std::filesystem::path& journal, const std::string& key,
                                 bool resume, const PluginContext& context, StageClock& clock,
                                 std::map<std::string, double>& figures);

/// Scores explanations with every evaluator, columns in their order; adds "evaluate" to `clock`.
/// Ranks work as in explain().
std::vector<ScoreColumn> evaluate(const LayerJob& job, const std::vector<Explanation>& explanations,
                                  const Named<ConceptLabeler>& simulator,
                                  const std::vector<Named<Evaluator>>& evaluators,
                                  StageClock& clock);

}  // namespace linex
