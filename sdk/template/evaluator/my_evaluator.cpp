// How far simulated activations are off, in standard deviations. Rename, then replace error().
#include <linex/plugin.hpp>

#include "toolkit/base/npy.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace {

/// Root mean square of the difference over the unit's deviation; not finite for a constant unit.
double error(const torch::Tensor& predicted, const torch::Tensor& actual) {
  return ((predicted - actual).square().mean().sqrt() / actual.std(false)).item<double>();
}

struct MyEvaluator final : linex::Evaluator {
  explicit MyEvaluator(const linex::PluginContext& c) : context(c) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& in) override {
    const linex::Simulation simulation(in.explanations, *in.simulator);
    const auto& run = context.run();
    const auto predicted = simulation.predict(in.split.test, run.threads, run.memory_bytes);
    const auto actual = linex::copy_rows(in.activations, in.split.test);
    linex::ScoreColumn score{"sim error", /*higher_is_better=*/false, {}, simulation.status()};
    for (std::size_t i = 0; i < in.explanations.size(); ++i) {
      const std::int64_t unit = in.explanations[i].unit, column = static_cast<std::int64_t>(i);
      linex::Status& status = score.status[i];
      if (unit >= actual.size(1)) status = linex::Status::unknown_unit;
      double value = linex::kNone;  // whoever has a status has no value
      if (status == linex::Status::ok)
        value = error(predicted.select(1, column), actual.select(1, unit));
      if (status == linex::Status::ok && !std::isfinite(value)) status = linex::Status::constant;
      score.value.push_back(status == linex::Status::ok ? value : linex::kNone);
    }
    return {score};
  }
  const linex::PluginContext& context;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(MyEvaluator, "my_evaluator", "0.1.0", "Error of simulated activations")
