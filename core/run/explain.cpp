#include "core/run/explain.hpp"

#include <optional>

#include "core/run/journal.hpp"
#include "linex/ability.hpp"
#include "linex/error.hpp"
#include "toolkit/explanations/explanation_bytes.hpp"

namespace linex {

namespace {

/// `values` become what they are on rank 0.
template <class... Values>
void take_from_rank_0(const RunCluster& cluster, Values&... values) {
  if (!cluster.several()) return;
  ByteWriter mine;
  if (cluster.leads()) (put(mine, values), ...);
  std::string bytes = mine.bytes();
  cluster.broadcast(bytes, 0);
  if (cluster.leads()) return;
  ByteReader reader(bytes);
  (take(reader, values), ...);
}

/// Calls `work` on every rank if `plugin` shares it, else on rank 0 apart; whether all have called.
template <class Plugin, class Work>
bool call_plugin(const RunCluster& cluster, const Plugin& plugin, const Work& work) {
  if (!cluster.several() || ability<SharesWork>(plugin)) {
    work();
    return true;
  }
  const RunCluster::Apart apart(cluster);
  if (cluster.leads()) work();
  return false;
}

}  // namespace

std::vector<Explanation> explain(const LayerJob& job, const Named<ConceptLabeler>& labeler,
                                 const Named<SparseSolver>& solver,
                                 const std::filesystem::path& journal_file, const std::string& key,
                                 bool resume, const PluginContext& context, StageClock& clock,
                                 std::map<std::string, double>& figures) {
  const SolverNeeds needs = solver.object->needs();
  ProblemParts parts;
  parts.labeler = labeler.object.get();
  parts.model = job.model.object.get();
  parts.data = job.data;
  parts.activations = job.activations;
  parts.units = job.units;
  parts.split = job.split;
  parts.layer = job.layer;
  parts.pool = job.pool;
  Problem problem;
  if (needs.presence)
    clock.time("concepts", [&] { problem = make_problem(needs, parts); });
  else
    problem = make_problem(needs, parts);

  std::optional<Journal> journal;
  std::vector<Explanation> explanations;
  if (job.cluster.leads()) {
    journal.emplace(journal_file, key, resume);
    explanations = journal->finished();
  }
  take_from_rank_0(job.cluster, explanations);
  problem.finished = explanations.size();
  if (problem.finished > 0)
    context.log().info("resuming: " + std::to_string(problem.finished) + " of " +
                       std::to_string(job.units.size()) + " units are explained already");
  if (problem.finished < job.units.size()) {
    const auto bar = context.progress("explaining " + job.layer,
                                      static_cast<std::int64_t>(job.units.size()), "units");
    bar->advance(static_cast<std::int64_t>(problem.finished));
    SolveReport report;
    clock.time("solve", [&] {
      const bool by_all = call_plugin(job.cluster, *solver.object, [&] {
        report = solver.object->solve(problem, [&](const std::vector<Explanation>& block) {
          if (journal) journal->append(block);
          explanations.insert(explanations.end(), block.begin(), block.end());
          bar->advance(static_cast<std::int64_t>(block.size()));
        });
      });
      if (!by_all) take_from_rank_0(job.cluster, explanations, report);
    });
    for (const auto& [stage, seconds] : report.timings_s) {
      clock.add(stage, seconds);
      clock.add("solve", -seconds);
    }
    for (const auto& [name, value] : report.figures) figures[name] = value;
  }
  if (explanations.size() != job.units.size())
    throw Error(ErrorKind::plugin, solver.name + " explained " +
                                       std::to_string(explanations.size()) + " of " +
                                       std::to_string(job.units.size()) + " units");
  for (std::size_t i = 0; i < explanations.size(); ++i)
    if (explanations[i].unit != job.units[i])
      throw Error(ErrorKind::plugin, solver.name + " explained unit " +
                                         std::to_string(explanations[i].unit) + " where unit " +
                                         std::to_string(job.units[i]) + " was due");
  return explanations;
}

std::vector<ScoreColumn> evaluate(const LayerJob& job, const std::vector<Explanation>& explanations,
                                  const Named<ConceptLabeler>& simulator,
                                  const std::vector<Named<Evaluator>>& evaluators,
                                  StageClock& clock) {
  // Recorded activations have no network to run, also where a data set shows their images.
  const bool network = job.data && job.model.object && !job.model.object->recorded().defined();
  EvaluationInput input;
  input.explanations = explanations;
  input.activations = job.activations;
  input.split = job.split;
  input.simulator = simulator.object.get();
  input.model = network ? job.model.object.get() : nullptr;
  input.layer = job.layer;
  input.pool = job.pool;
  input.data = job.data;
  std::vector<ScoreColumn> columns;
  clock.time("evaluate", [&] {
    for (const auto& evaluator : evaluators) {
      std::vector<ScoreColumn> scored;
      if (!call_plugin(job.cluster, *evaluator.object,
                       [&] { scored = evaluator.object->evaluate(input); }))
        take_from_rank_0(job.cluster, scored);
      for (auto& column : scored) {
        if (column.value.size() != explanations.size() ||
            column.status.size() != explanations.size())
          throw Error(ErrorKind::plugin, evaluator.name + " scored " +
                                             std::to_string(column.value.size()) + " of " +
                                             std::to_string(explanations.size()) + " explanations");
        columns.push_back(std::move(column));
      }
    }
  });
  return columns;
}

}  // namespace linex
