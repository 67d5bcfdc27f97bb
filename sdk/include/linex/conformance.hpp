// What every plugin of a kind must pass: the checks behind `linex check FILE.so`, for unit tests
// too.
//
//   TEST(MySolver, Conforms) {
//     linex::conformance::Setup setup;
//     setup.options = linex::option::defaults(MySolver::kOptions);
//     const auto checks = linex::conformance::check_solver(
//         [](const linex::PluginContext& c) { return std::make_shared<MySolver>(c); }, setup);
//     EXPECT_EQ(linex::conformance::failures(checks), "");
//   }
//
// The checks run on small synthetic data. While they run, standard output is watched: a plugin may
// not write to it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/evaluator.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/solver.hpp"

namespace linex::conformance {

enum class Outcome { passed, failed, skipped };

struct Check {
  std::string name;
  Outcome outcome = Outcome::passed;
  std::string detail;  ///< why it failed or was skipped
};

/// How a plugin differs on purpose.
struct Quirks {
  std::vector<std::string> skip;  ///< names of checks that do not hold for it
  double tolerance = 1e-3;        ///< relative, where equal is only asked up to rounding
};

struct Setup {
  OptionValues options;  ///< as the host would hand them over
  Quirks quirks;
  std::function<void(const std::string& name)> before;  ///< a check starts (to blame a crash on it)
  std::function<void(const Check&)> after;              ///< a check is done
};

/// Makes one object; the context outlives it. May throw as a plugin's constructor does.
template <class Interface>
using Make = std::function<std::shared_ptr<Interface>(const PluginContext&)>;

/// Errors of a plugin become failed checks; an Error(usage, input) of the first create or the first
/// call means that it wants more than these data or options offer: what depends on it is skipped.
LINEX_API std::vector<Check> check_model(const Make<TargetModel>& make, const Setup& setup);
LINEX_API std::vector<Check> check_labeler(const Make<ConceptLabeler>& make, const Setup& setup);
LINEX_API std::vector<Check> check_solver(const Make<SparseSolver>& make, const Setup& setup);
LINEX_API std::vector<Check> check_evaluator(const Make<Evaluator>& make, const Setup& setup);

/// "name: detail" lines of the failed checks; "" when none failed.
LINEX_API std::string failures(const std::vector<Check>& checks);

/// What the checks run on, the same everywhere: `linex check --write-data DIR` writes it out, for
/// authors whose plugin reads files about it.
struct CheckData {
  std::shared_ptr<const DataSet> images;  ///< N small images in four classes
  Split split;                            ///< of the N rows
  std::vector<std::string> concepts;
  torch::Tensor presence;     ///< float32 (N, concepts), 0 or 1
  torch::Tensor activations;  ///< float32 (N, units): solvers explain them by those concepts
};
LINEX_API CheckData check_data();

/// A silent context with the given options, for tests of plugins.
class LINEX_API TestContext final : public PluginContext {
 public:
  explicit TestContext(OptionValues options, RunSettings run = {});
  ~TestContext() override;
  const OptionValues& options() const override;
  const RunSettings& run() const override;
  Logger& log() const override;
  std::unique_ptr<Progress> progress(const std::string& title, std::int64_t total,
                                     const std::string& unit) const override;
  bool cancelled() const noexcept override;
  /// From now on cancelled() is true.
  void cancel();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace linex::conformance
