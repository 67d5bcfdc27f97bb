#include "core/run/explain.hpp"

#include "core/run/journal.hpp"
#include "linex/error.hpp"

namespace linex {

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

  Journal journal(journal_file, key, resume);
  std::vector<Explanation> explanations = journal.finished();
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
      report = solver.object->solve(problem, [&](const std::vector<Explanation>& block) {
        journal.append(block);
        explanations.insert(explanations.end(), block.begin(), block.end());
        bar->advance(static_cast<std::int64_t>(block.size()));
      });
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
      auto scored = evaluator.object->evaluate(input);
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
