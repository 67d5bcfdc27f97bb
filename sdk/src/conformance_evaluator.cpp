// What every evaluator must do.
#include <algorithm>
#include <set>

#include "conformance_runner.hpp"
#include "conformance_world.hpp"

namespace linex::conformance {
namespace {

Explanation explanation(std::int64_t unit, std::vector<Term> terms, Status status = Status::ok) {
  Explanation made;
  made.unit = unit;
  made.terms = std::move(terms);
  made.status = status;
  return made;
}

/// Good ones, and one of each thing that cannot be scored.
std::vector<Explanation> sample_explanations() {
  std::vector<Explanation> all{explanation(0, {{"red", 2.0}}),
                               explanation(1, {{"green", 1.5}, {"dotted", 0.7}}),
                               explanation(kDeadUnit, {}, Status::dead),
                               explanation(4, {{"no such concept", 1.0}}),
                               explanation(5, {}),
                               explanation(6, {{"square", 1.5}, {"food", 0.7}}),
                               explanation(kUnits + 3, {{"red", 1.0}})};
  Explanation text;
  text.unit = 7;
  text.text = "animal";
  all.push_back(text);
  return all;
}

bool same(const ScoreColumn& a, const ScoreColumn& b) {
  return a.name == b.name && a.status == b.status &&
         std::equal(a.value.begin(), a.value.end(), b.value.begin(), b.value.end(), same_bytes);
}

}  // namespace

std::vector<Check> check_evaluator(const Make<Evaluator>& make, const Setup& setup) {
  Runner runner(setup);
  const auto simulator = labeler();
  const auto network = model();
  EvaluationInput input;
  input.explanations = sample_explanations();
  input.activations = planted_activations(concept_matrix());
  input.split = split_rows(kRows);
  input.simulator = simulator.get();
  input.model = network.get();
  input.layer = "features";
  input.pool = Pool::avg;
  input.data = images();
  const auto evaluate = [&](const EvaluationInput& given, int threads) {
    RunSettings run;
    run.threads = threads;
    const TestContext context(setup.options, run);
    return make(context)->evaluate(given);
  };

  std::vector<ScoreColumn> expected;
  const bool opened = runner.open("create", [&] {
    const TestContext context(setup.options);
    make(context);
  });
  if (!opened || !runner.open("evaluate", [&] { expected = evaluate(input, 1); }))
    return runner.finish();

  const std::size_t count = input.explanations.size();
  runner.run("shapes", [&] {
    require(!expected.empty(), "there is no column");
    std::set<std::string> names;
    for (const ScoreColumn& column : expected) {
      require(!column.name.empty() && names.insert(column.name).second,
              "a column has no name of its own");
      require(column.value.size() == count && column.status.size() == count,
              column.name + " does not have one value and status for each explanation");
      require(column.low.size() == column.high.size() &&
                  (column.low.empty() || column.low.size() == count),
              column.name + " has an interval of another length");
    }
  });
  runner.run("a value or a status", [&] {
    for (const ScoreColumn& column : expected)
      for (std::size_t i = 0; i < count; ++i)
        require(std::isfinite(column.value.at(i)) == (column.status.at(i) == Status::ok),
                column.name + " of explanation " + std::to_string(i) + " is " +
                    std::to_string(column.value[i]) + " with status " +
                    to_string(column.status[i]));
  });
  runner.run("dead units are not scored", [&] {
    for (const ScoreColumn& column : expected)
      require(column.status.at(2) != Status::ok, column.name + " scores a dead unit");
  });
  const auto require_same = [&](const std::vector<ScoreColumn>& found) {
    require(std::equal(found.begin(), found.end(), expected.begin(), expected.end(), same),
            "other scores");
  };
  runner.run("same input, same bytes", [&] { require_same(evaluate(input, 1)); });
  runner.run("same bytes on three threads", [&] { require_same(evaluate(input, 3)); });
  runner.run("a score does not depend on the other explanations", [&] {
    EvaluationInput reversed = input;
    std::reverse(reversed.explanations.begin(), reversed.explanations.end());
    const auto found = evaluate(reversed, 1);
    require(found.size() == expected.size(), "another number of columns");
    for (std::size_t c = 0; c < found.size(); ++c)
      for (std::size_t i = 0; i < count; ++i) {
        const double before = expected[c].value.at(i), after = found[c].value.at(count - 1 - i);
        require(std::isfinite(before) == std::isfinite(after) &&
                    !(std::abs(before - after) > setup.quirks.tolerance * (1 + std::abs(before))),
                expected[c].name + " changes with the order of the explanations");
      }
  });
  runner.run("no explanation", [&] {
    EvaluationInput empty = input;
    empty.explanations.clear();
    for (const ScoreColumn& column : evaluate(empty, 1))
      require(column.value.empty() && column.status.empty(), column.name + " is not empty");
  });
  return runner.finish();
}

}  // namespace linex::conformance
