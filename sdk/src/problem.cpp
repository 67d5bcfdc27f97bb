#include "linex/error.hpp"
#include "linex/solver.hpp"

namespace linex {

Problem make_problem(const SolverNeeds& needs, const ProblemParts& parts) {
  Problem problem;
  problem.units = parts.units;
  problem.split = parts.split;
  problem.layer = parts.layer;
  problem.pool = parts.pool;
  if (needs.activations) problem.activations = parts.activations;
  if (needs.model) {
    if (!parts.model) throw usage_error("the solver needs a network; set model.plugin");
    problem.model = parts.model;
    problem.data = parts.data;
  }
  if (needs.labeler) problem.labeler = parts.labeler;
  if (needs.presence) {
    if (!parts.labeler) throw usage_error("the solver needs concepts; set labeler.plugin");
    problem.concepts = parts.labeler->concepts();
    problem.presence = parts.labeler->presence();
    if (problem.concepts.empty()) throw input_error("the labeler names no concept");
    const auto names = static_cast<std::int64_t>(problem.concepts.size());
    if (!problem.presence || problem.presence->cols() != names)
      throw Error(ErrorKind::plugin,
                  "the labeler names " + std::to_string(names) +
                      " concepts but has the presence of " +
                      std::to_string(problem.presence ? problem.presence->cols() : 0));
  }
  return problem;
}

}  // namespace linex
