// Simulation with correlation scoring (docs/methods.md §1.8): predict each unit from its
// explanation on the test rows, correlate with what it did.
#include "bootstrap.hpp"
#include "linex/plugin.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace {

class SimulationCorrelation final : public linex::Evaluator {
 public:
  static constexpr std::array kOptions{
      linex::option::choice("interval", "fisher", "fisher|bootstrap|none",
                            "95 % confidence interval of each unit's correlation: Fisher's z, or "
                            "percentiles over resampled test rows"),
      linex::option::integer("resamples", 1000, 100, 1000000, "of the bootstrap")};

  explicit SimulationCorrelation(const linex::PluginContext& context) : context_(context) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const auto& run = context_.run();
    const auto count = static_cast<std::int64_t>(input.explanations.size());
    const auto rows = static_cast<std::int64_t>(input.split.test.size());
    linex::ScoreColumn score{"sim correlation", true, {}, {}, {}, {}};
    const linex::Simulation simulation(input.explanations, *input.simulator);
    score.status = simulation.status();
    for (std::int64_t i = 0; i < count; ++i)
      if (const auto& unknown = simulation.unknown()[static_cast<std::size_t>(i)]; !unknown.empty())
        context_.log().warning(
            "unit " + std::to_string(input.explanations[static_cast<std::size_t>(i)].unit) +
            ": the simulator does not know '" + unknown + "'");

    const auto actual_rows = linex::copy_rows(input.activations, input.split.test);
    // Predictions and their pair of activations for as many units as fit into a quarter of the
    // memory.
    const std::int64_t block =
        std::max<std::int64_t>(1, run.memory_bytes / 16 / std::max<std::int64_t>(rows, 1) / 4);
    for (std::int64_t begin = 0; begin < count; begin += block) {
      linex::check_cancelled(context_);
      const std::int64_t end = std::min(count, begin + block);
      std::vector<std::int64_t> units;
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        const std::int64_t unit = input.explanations[i].unit;
        const bool exists = unit >= 0 && unit < input.activations.size(1);
        units.push_back(exists ? unit : 0);
        if (!exists) score.status[i] = linex::Status::unknown_unit;
      }
      const auto predicted =
          simulation.predict(input.split.test, static_cast<std::size_t>(begin),
                             static_cast<std::size_t>(end), run.threads, run.memory_bytes);
      const auto actual = actual_rows.index_select(1, torch::tensor(units, torch::kInt64));
      const auto correlations = linex::pearson_columns(predicted, actual);
      std::vector<linex::Interval> intervals;
      if (context_.options().text("interval") == "bootstrap")
        intervals = linex::bootstrap_pearson(
            predicted, actual, context_.options().integer("resamples"), run.seed, run.threads);
      for (std::size_t i = 0; i < correlations.size(); ++i)
        add(score, static_cast<std::size_t>(begin) + i, correlations[i],
            intervals.empty() ? linex::fisher_interval(correlations[i], rows) : intervals[i]);
    }
    if (context_.options().text("interval") == "none") {
      score.low.clear();
      score.high.clear();
    }
    return {score};
  }

 private:
  static void add(linex::ScoreColumn& score, std::size_t index, double correlation,
                  linex::Interval interval) {
    const bool scored = score.status[index] == linex::Status::ok;
    // A prediction or a unit that does not vary on the test rows has no correlation.
    if (scored && !std::isfinite(correlation)) score.status[index] = linex::Status::constant;
    score.value.push_back(scored ? correlation : linex::kNone);
    const bool defined = std::isfinite(score.value.back());
    score.low.push_back(defined ? interval.low : linex::kNone);
    score.high.push_back(defined ? interval.high : linex::kNone);
  }

  const linex::PluginContext& context_;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(SimulationCorrelation, "simulation_correlation", "0.1.0",
                       "correlation of simulated with actual activations on the test rows")
