// What every solver must do.
#include <algorithm>
#include <array>
#include <exception>
#include <numeric>
#include <optional>
#include <thread>

#include "conformance_runner.hpp"
#include "conformance_world.hpp"

namespace linex::conformance {
namespace {

using Explanations = std::vector<Explanation>;

/// What the checks lend to a solver, made into its problem as the host does it.
struct Lent {
  explicit Lent(const SolverNeeds& needs, std::int64_t rows = kRows)
      : concepts(labeler(rows)), network(model()) {
    ProblemParts parts;
    parts.labeler = concepts.get();
    parts.model = network.get();
    parts.data = images();
    parts.activations =
        needs.model ? model_activations() : planted_activations(concept_matrix(rows));
    parts.units = {0, 1, 2, 3, 4, 6, 7};
    parts.split = split_rows(rows);
    parts.layer = "features";
    parts.pool = Pool::avg;
    problem = make_problem(needs, parts);
  }
  std::shared_ptr<ConceptLabeler> concepts;
  std::shared_ptr<TargetModel> network;
  Problem problem;
};

Explanations solve(const Make<SparseSolver>& make, const Setup& setup, const Problem& problem,
                   int threads = 1) {
  RunSettings run;
  run.threads = threads;
  const TestContext context(setup.options, run);
  Explanations all;
  make(context)->solve(problem, [&](const Explanations& block) {
    all.insert(all.end(), block.begin(), block.end());
  });
  return all;
}

std::string describe(const Explanation& e) {
  std::string text = "unit " + std::to_string(e.unit) + " (" + to_string(e.status) + ")";
  for (const Term& term : e.terms)
    text += " " + std::to_string(term.weight) + "*" + term.concept_name;
  return text;
}

bool same(const Explanation& a, const Explanation& b) {
  const auto same_term = [](const Term& x, const Term& y) {
    return x.concept_name == y.concept_name && same_bytes(x.weight, y.weight);
  };
  return a.unit == b.unit && a.status == b.status && a.text == b.text &&
         same_bytes(a.bias, b.bias) && same_bytes(a.val_correlation, b.val_correlation) &&
         std::equal(a.terms.begin(), a.terms.end(), b.terms.begin(), b.terms.end(), same_term);
}

void require_same(const Explanations& a, const Explanations& b) {
  require(a.size() == b.size(),
          std::to_string(a.size()) + " explanations, then " + std::to_string(b.size()));
  for (std::size_t i = 0; i < a.size(); ++i)
    require(same(a[i], b[i]), describe(a[i]) + " is not " + describe(b[i]));
}

/// Same concepts with the same weights up to rounding, in any order.
void require_close(const Explanation& a, const Explanation& b, double tolerance) {
  const auto by_name = [](std::vector<Term> terms) {
    std::sort(terms.begin(), terms.end(),
              [](const Term& x, const Term& y) { return x.concept_name < y.concept_name; });
    return terms;
  };
  const auto x = by_name(a.terms), y = by_name(b.terms);
  bool close = x.size() == y.size();
  for (std::size_t i = 0; close && i < x.size(); ++i)
    close = x[i].concept_name == y[i].concept_name &&
            std::abs(x[i].weight - y[i].weight) <= tolerance * (1e-3 + std::abs(y[i].weight));
  require(close, describe(a) + " is not " + describe(b));
}

/// Whether `text` is one of the names, or joins some of them by AND, OR and NOT.
bool made_of(std::string text, const std::vector<std::string>& names) {
  const auto replace = [&](const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  for (const char* joint : {" AND ", " OR "}) replace(joint, "\n");
  for (const char* mark : {"NOT ", "(", ")", "\""}) replace(mark, "");
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (std::find(names.begin(), names.end(), text.substr(begin, end - begin)) == names.end())
      return false;
    begin = end + 1;
  }
  return true;
}

void require_well_formed(const Explanations& all) {
  const auto known = concept_names();
  for (const Explanation& e : all) {
    require(std::isfinite(e.bias), describe(e) + ": the bias is not finite");
    require(e.status != Status::ok || !e.terms.empty() || !e.text.empty(),
            describe(e) + ": ok without a term or a text");
    for (std::size_t t = 0; t < e.terms.size(); ++t) {
      require(std::isfinite(e.terms[t].weight), describe(e) + ": a weight is not finite");
      require(t == 0 || e.terms[t - 1].weight >= e.terms[t].weight,
              describe(e) + ": weights do not descend");
      require(!e.text.empty() || made_of(e.terms[t].concept_name, known),
              describe(e) + ": a term that is none of the concepts, and no formula of them");
    }
  }
}

/// An error must come out as it went in, not as another kind and not swallowed.
template <class Work>
void require_input_error(const Work& work, const std::string& what) {
  try {
    work();
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::input, what + " came out as another kind of error");
    return;
  }
  throw Failure{what + " was swallowed"};
}

class FailingPresence final : public Presence {
 public:
  std::int64_t rows() const override { return kRows; }
  std::int64_t cols() const override { return kConcepts; }

 private:
  void do_read(Ids, const Columns&, float*) const override {
    throw input_error("presence is not finite in row 7, column 3");
  }
};

}  // namespace

std::vector<Check> check_solver(const Make<SparseSolver>& make, const Setup& setup) {
  Runner runner(setup);
  SolverNeeds needs;
  std::optional<Lent> lent;
  Problem problem;
  Explanations expected;
  const bool opened = runner.open("create", [&] {
    const TestContext context(setup.options);
    needs = make(context)->needs();
    lent.emplace(needs);
    problem = lent->problem;
  });
  if (!opened || !runner.open("solve", [&] { expected = solve(make, setup, problem); }))
    return runner.finish();

  runner.run("one explanation a unit, in order", [&] {
    require(expected.size() == problem.units.size(),
            std::to_string(expected.size()) + " explanations for " +
                std::to_string(problem.units.size()) + " units");
    for (std::size_t i = 0; i < expected.size(); ++i)
      require(expected[i].unit == problem.units[i],
              "explanation " + std::to_string(i) + " is of unit " +
                  std::to_string(expected[i].unit) + ", not " + std::to_string(problem.units[i]));
  });
  runner.run("well-formed explanations", [&] { require_well_formed(expected); });
  runner.run("dead and constant units have a status", [&] {
    if (needs.model) throw Skip{"the units come from a model"};
    for (const Explanation& e : expected)
      if (e.unit == kDeadUnit || e.unit == kConstantUnit)
        require(e.status == Status::dead || e.status == Status::constant, describe(e));
  });
  runner.run("same input, same bytes",
             [&] { require_same(solve(make, setup, problem), expected); });
  runner.run("same bytes on three threads",
             [&] { require_same(solve(make, setup, problem, 3), expected); });
  runner.run("a resumed run ends in the same bytes", [&] {
    Problem rest = problem;
    rest.finished = 3;
    require_same(solve(make, setup, rest), Explanations(expected.begin() + 3, expected.end()));
  });
  runner.run("permuted concepts", [&] {
    if (!needs.presence) throw Skip{"it does not read presence"};
    Problem permuted = problem;
    std::vector<std::int64_t> order(kConcepts);
    std::iota(order.begin(), order.end(), 0);
    std::reverse(order.begin(), order.end());
    for (std::int64_t j = 0; j < kConcepts; ++j) permuted.concepts[j] = problem.concepts[order[j]];
    permuted.presence = matrix_presence(concept_matrix().index_select(1, torch::tensor(order)));
    const Explanations found = solve(make, setup, permuted);
    require(found.size() == expected.size(), "another number of explanations");
    for (std::size_t i = 0; i < found.size(); ++i)
      if (expected[i].status == Status::ok)
        require_close(found[i], expected[i], setup.quirks.tolerance);
  });
  runner.run("fewer rows than concepts", [&] {
    if (needs.model) throw Skip{"the rows are those of a data set"};
    const Lent small(needs, 10);
    try {
      require_well_formed(solve(make, setup, small.problem));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::input) throw;  // refusing them is fine
    }
  });
  runner.run("NaN in an activation", [&] {
    if (!needs.activations) throw Skip{"it does not read activations"};
    Problem poisoned = problem;
    poisoned.activations = problem.activations.clone();
    poisoned.activations[problem.split.train[0]][0] = std::nan("");
    try {
      require_well_formed(solve(make, setup, poisoned));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::input) throw;
    }
  });
  runner.run("errors of the presence come out", [&] {
    if (!needs.presence) throw Skip{"it does not read presence"};
    Problem failing = problem;
    failing.presence = std::make_shared<FailingPresence>();
    require_input_error([&] { solve(make, setup, failing); }, "an error of the presence");
  });
  runner.run("errors of the sink come out", [&] {
    const TestContext context(setup.options);
    const auto refuse = [](const Explanations&) { throw input_error("no space left"); };
    require_input_error([&] { make(context)->solve(problem, refuse); }, "an error of the sink");
  });
  runner.run("stops when cancelled", [&] {
    TestContext context(setup.options);
    context.cancel();
    try {
      make(context)->solve(problem, [](const Explanations&) {});
    } catch (const Error& error) {
      require(error.kind() == ErrorKind::interrupted, std::string("threw ") + error.what());
    }
  });
  runner.run("two instances in two threads", [&] {
    std::array<Explanations, 2> found;
    std::array<std::exception_ptr, 2> thrown;
    std::array<std::thread, 2> threads;
    for (int t = 0; t < 2; ++t)
      threads[t] = std::thread([&, t] {
        try {
          found[t] = solve(make, setup, problem);
        } catch (...) {
          thrown[t] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (int t = 0; t < 2; ++t) {
      if (thrown[t]) std::rethrow_exception(thrown[t]);
      require_same(found[t], expected);
    }
  });
  return runner.finish();
}

}  // namespace linex::conformance
