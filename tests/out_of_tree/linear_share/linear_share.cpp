// Of the variance of a unit that any linear explanation over the simulator's concepts explains, how
// much does this explanation explain? On the training rows.
#include <linex/plugin.hpp>

#include "toolkit/explanations/simulate.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/regression.hpp"

namespace {

using linex::Status;

class LinearShare final : public linex::Evaluator {
 public:
  explicit LinearShare(const linex::PluginContext& context) : context_(context) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const linex::Simulation simulation(input.explanations, *input.simulator);
    const std::size_t count = input.explanations.size();
    linex::ScoreColumn score{"linear share", true, std::vector<double>(count, linex::kNone),
                             simulation.status()};
    std::vector<std::size_t> scored;
    for (std::size_t i = 0; i < count; ++i) {
      if (input.explanations[i].unit >= input.activations.size(1))
        score.status[i] = Status::unknown_unit;
      if (score.status[i] == Status::ok) scored.push_back(i);
    }
    if (scored.empty()) return {score};

    const std::vector<double> reached = explained_by(simulation, input, scored);
    const std::vector<double> reachable = explained_by_all(input, scored);
    for (std::size_t s = 0; s < scored.size(); ++s) {
      const double share = reached[s] / reachable[s];
      if (std::isfinite(share))
        score.value[scored[s]] = share;
      else
        score.status[scored[s]] = Status::constant;
    }
    return {score};
  }

 private:
  linex::MomentOptions options() const {
    linex::MomentOptions options;
    options.threads = context_.run().threads;
    options.memory_bytes = context_.run().memory_bytes;
    return options;
  }

  /// Squared correlations of predicted and actual activations.
  std::vector<double> explained_by(const linex::Simulation& simulation,
                                   const linex::EvaluationInput& input,
                                   const std::vector<std::size_t>& scored) const {
    const auto& run = context_.run();
    const linex::Rows& train = input.split.train;
    std::vector<std::int64_t> columns, units;
    for (const std::size_t i : scored) {
      columns.push_back(static_cast<std::int64_t>(i));
      units.push_back(input.explanations[i].unit);
    }
    const auto n = static_cast<std::int64_t>(train.size());
    const auto predicted =
        linex::activation_rows(simulation.predict(train, run.threads, run.memory_bytes), columns);
    const auto actual = linex::activation_rows(
        input.activations.index_select(0, torch::tensor(train)).contiguous(), units);
    const linex::Rows rows = linex::all_columns(n);
    const auto reach = linex::around_mean(linex::column_stats(predicted, rows, run.threads));
    const auto unit_reach = linex::around_mean(linex::column_stats(actual, rows, run.threads));
    const auto found = linex::moments({predicted, reach, actual, unit_reach}, rows, options());
    std::vector<double> squared;
    for (std::int64_t k = 0; k < found.cross.size(0); ++k) {
      const auto at = static_cast<std::size_t>(k);
      const double covariance = found.cross[k][k].item<double>();
      squared.push_back(covariance * covariance /
                        (found.concept_variance[at] * found.unit_variance[at]));
    }
    return squared;
  }

  /// The share of each unit's variance that all concepts explain together.
  std::vector<double> explained_by_all(const linex::EvaluationInput& input,
                                       const std::vector<std::size_t>& scored) const {
    std::vector<std::int64_t> units;
    for (const std::size_t i : scored) units.push_back(input.explanations[i].unit);
    const auto presence = input.simulator->presence();
    linex::RegressionOptions how;
    how.moments = options();
    linex::Regression regression({*presence, input.activations, units, input.split}, how);
    const auto all = linex::all_columns(regression.concept_count());
    regression.gram->require(all);
    std::vector<double> share;
    for (std::int64_t k = 0; k < regression.unit_count(); ++k) {
      const auto fit =
          linex::least_squares(*regression.gram, regression.cross[k].data_ptr<double>(), all);
      share.push_back(fit.explained / regression.mean_square[static_cast<std::size_t>(k)]);
    }
    return share;
  }

  const linex::PluginContext& context_;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(LinearShare, "linear_share", "0.1.0",
                       "Variance explained, of what linear explanations could explain")
