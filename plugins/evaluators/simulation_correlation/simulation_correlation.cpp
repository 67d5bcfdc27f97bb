// Simulation with correlation scoring (docs/methods.md §1.8): predict each unit from its
// explanation on the test rows, correlate with what it did.
#include <cstdio>

#include "bootstrap.hpp"
#include "linex/cluster.hpp"
#include "linex/plugin.hpp"
#include "shortened.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace {

class SimulationCorrelation final : public linex::Evaluator, public linex::SharesWork {
 public:
  static constexpr std::array kOptions{
      linex::option::choice("interval", "fisher", "fisher|bootstrap|none",
                            "95 % confidence interval of each unit's correlation: Fisher's z, or "
                            "percentiles over resampled test rows"),
      linex::option::integer("resamples", 1000, 100, 1000000, "of the bootstrap"),
      linex::option::flag("frontier", false,
                          "also tell the mean correlation at each mean length: explanations cut to "
                          "1, 2, ... concepts, fitted again on the training rows")};

  explicit SimulationCorrelation(const linex::PluginContext& context) : context_(context) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const auto& run = context_.run();
    const auto count = static_cast<std::int64_t>(input.explanations.size());
    const auto rows = static_cast<std::int64_t>(input.split.test.size());
    const auto* const cluster = linex::ability<linex::Cluster>(context_);
    const linex::Share share = linex::share_of(count, 1, cluster);
    linex::ScoreColumn score{"sim correlation", true, {}, {}, {}, {}};
    // Of all explanations on every rank: texts that are encoded together may move each other.
    const linex::Simulation simulation(input.explanations, *input.simulator);
    score.status = simulation.status();
    for (std::int64_t i = 0; i < count; ++i)
      if (const auto& unknown = simulation.unknown()[static_cast<std::size_t>(i)]; !unknown.empty())
        context_.log().warning(
            "unit " + std::to_string(input.explanations[static_cast<std::size_t>(i)].unit) +
            ": the simulator does not know '" + unknown + "'");

    linex::simulate_share(
        simulation, input.explanations, share, input.activations, input.split.test, context_,
        score.status,
        [&](std::size_t begin, const torch::Tensor& predicted, const torch::Tensor& actual) {
          const auto correlations = linex::pearson_columns(predicted, actual);
          std::vector<linex::Interval> intervals;
          if (context_.options().text("interval") == "bootstrap")
            intervals = linex::bootstrap_pearson(
                predicted, actual, context_.options().integer("resamples"), run.seed, run.threads);
          for (std::size_t i = 0; i < correlations.size(); ++i)
            add(score, begin + i, correlations[i],
                intervals.empty() ? linex::fisher_interval(correlations[i], rows) : intervals[i]);
        });
    score.value = linex::gather_shares(cluster, score.value);
    score.low = linex::gather_shares(cluster, score.low);
    score.high = linex::gather_shares(cluster, score.high);
    score.status = linex::gather_shares<linex::Status>(
        cluster, {score.status.begin() + share.begin, score.status.begin() + share.end});
    if (context_.options().text("interval") == "none") {
      score.low.clear();
      score.high.clear();
    }
    if (context_.options().flag("frontier")) tell_frontier(input);
    return {score};
  }

  const void* ability(const char* name) const override {
    return linex::offer<linex::SharesWork>(name, this);
  }

 private:
  void tell_frontier(const linex::EvaluationInput& input) const {
    linex::MomentOptions options;
    options.threads = context_.run().threads;
    options.memory_bytes = context_.run().memory_bytes;
    options.cluster = linex::ability<linex::Cluster>(context_);
    for (const auto& point : linex::shorten(input, options)) {
      char line[120];
      std::snprintf(line, sizeof line,
                    "%s frontier: longest %lld, mean length %.2f: sim correlation %.4f ± %.4f",
                    input.layer.c_str(), static_cast<long long>(point.most), point.length,
                    point.correlation.mean, point.correlation.sem);
      context_.log().info(line);
    }
  }

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
