// The ceiling of simulation (docs/methods.md §5.3): the correlation that the best function of the
// simulator's concepts reaches, and the share of it that an explanation does.
#include <algorithm>
#include <cstdio>
#include <map>

#include "linex/error.hpp"
#include "linex/plugin.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/explanations/spoiled.hpp"
#include "unit_ceiling.hpp"

namespace {

class CeilingEvaluator final : public linex::Evaluator {
 public:
  static constexpr std::array kOptions{
      linex::option::integer("landmarks", 512, 8, 8192,
                             "training images that kernel ridge is expanded in: more is a better "
                             "estimate for soft presence, and longer"),
      linex::option::flag("sanity", false,
                          "spoil the concepts and tell whether the share of the ceiling notices: "
                          "missing and extra labels")};

  explicit CeilingEvaluator(const linex::PluginContext& context) : context_(context) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const auto& explanations = input.explanations;
    linex::ScoreColumn ceiling{"sim ceiling", true, {}, {}, {}, {}};
    linex::ScoreColumn share{"share of ceiling", true, {}, {}, {}, {}};

    std::vector<std::int64_t> units;
    for (const auto& explanation : explanations)
      if (explanation.unit >= 0 && explanation.unit < input.activations.size(1))
        units.push_back(explanation.unit);
    std::sort(units.begin(), units.end());
    units.erase(std::unique(units.begin(), units.end()), units.end());
    if (units.empty()) {
      ceiling.value.assign(explanations.size(), linex::kNone);
      ceiling.status.assign(explanations.size(), linex::Status::unknown_unit);
      share.value = ceiling.value;
      share.status = ceiling.status;
      return {ceiling, share};
    }

    const auto found = find(input, units);
    const auto rows = static_cast<std::int64_t>(input.split.test.size());
    for (const auto& explanation : explanations) {
      const auto place = std::lower_bound(units.begin(), units.end(), explanation.unit);
      const bool known = place != units.end() && *place == explanation.unit;
      const auto k = static_cast<std::size_t>(place - units.begin());
      ceiling.value.push_back(known ? found.correlation[k] : linex::kNone);
      ceiling.status.push_back(known ? found.status[k] : linex::Status::unknown_unit);
      const auto interval = linex::fisher_interval(ceiling.value.back(), rows);
      ceiling.low.push_back(interval.low);
      ceiling.high.push_back(interval.high);
    }
    share_of(input, ceiling, share);
    return {ceiling, share};
  }

 private:
  linex::UnitCeilings find(const linex::EvaluationInput& input,
                           const std::vector<std::int64_t>& units) const {
    const auto presence = input.simulator->presence();
    if (!presence || presence->cols() == 0)
      throw linex::usage_error(
          "evaluator/ceiling: the simulator names no concepts, so there is nothing to be a "
          "function "
          "of; give it a list of concepts or leave the evaluator out");
    const auto& run = context_.run();
    linex::CeilingOptions options;
    options.landmarks = context_.options().integer("landmarks");
    options.seed = run.seed;
    options.moments.threads = run.threads;
    options.moments.memory_bytes = run.memory_bytes;
    options.moments.device = run.device;
    const auto progress = context_.progress("ceiling", 3 * input.activations.size(0), "rows");
    const auto found = linex::unit_ceilings({*presence, input.activations, units, input.split},
                                            options, [&](std::int64_t rows) {
                                              linex::check_cancelled(context_);
                                              progress->advance(rows);
                                            });
    std::map<std::string, int> by;
    for (const auto& name : found.by)
      if (!name.empty()) ++by[name];
    std::string how;
    for (const auto& [name, count] : by)
      how += (how.empty() ? "" : ", ") + name + " " + std::to_string(count);
    context_.log().info(found.exact ? "ceiling: exact, the means of " +
                                          std::to_string(found.cells) + " distinct rows of presence"
                                    : "ceiling: an estimate, by (units): " + how);
    return found;
  }

  /// How often the share falls where the concepts are spoiled.
  struct Sanity {
    double units = 0, missing = 0, extra = 0;
  };

  /// Adds one unit's trial; the ceiling is above 0.
  void spoil(const linex::Explanation& explanation, const torch::Tensor& predicted,
             const torch::Tensor& actual, double ceiling, Sanity& sanity) const {
    const auto n = predicted.size(0);
    const torch::Tensor simulated = predicted.contiguous();
    const auto presence = linex::presence_behind(explanation, simulated.data_ptr<float>(), n);
    auto random =
        linex::Random::stream(context_.run().seed, static_cast<std::uint64_t>(explanation.unit));
    const auto share = [&](std::vector<float> values) {
      const auto column = torch::from_blob(values.data(), {n, 1}, torch::kFloat32);
      return linex::pearson_columns(column, actual.reshape({n, 1}))[0] / ceiling;
    };
    constexpr double kThreshold = 0.5, kRange = 2;  // as for correlations
    const double original = share(presence);
    if (!std::isfinite(original)) return;
    const auto falls = [&](double spoiled) {
      return (spoiled - original) / kRange < -linex::kSanityDrop;
    };
    ++sanity.units;
    sanity.missing +=
        falls(share(linex::missing_labels(presence.data(), n, kThreshold, random.next())));
    sanity.extra +=
        falls(share(linex::extra_labels(presence.data(), n, kThreshold, random.next())));
  }

  void report(const Sanity& sanity, linex::ScoreColumn& share) const {
    if (sanity.units == 0) return;
    const double missing = sanity.missing / sanity.units, extra = sanity.extra / sanity.units;
    const bool reliable = missing >= linex::kSanityShare && extra >= linex::kSanityShare;
    share.sanity = {
        {"missing labels", missing}, {"extra labels", extra}, {"reliable", reliable ? 1 : 0}};
    char line[160];
    std::snprintf(
        line, sizeof line,
        "sanity of share of ceiling over %.0f units: falls in %.1f%% with missing labels, "
        "in %.1f%% with extra ones: %s",
        sanity.units, 100 * missing, 100 * extra, reliable ? "reliable" : "not reliable");
    context_.log().info(line);
  }

  /// The explanation's own correlation over the unit's ceiling.
  void share_of(const linex::EvaluationInput& input, const linex::ScoreColumn& ceiling,
                linex::ScoreColumn& share) const {
    const linex::Simulation simulation(input.explanations, *input.simulator);
    share.status = simulation.status();
    const bool sane = context_.options().flag("sanity");
    Sanity sanity;
    linex::simulate_all(
        simulation, input.explanations, input.activations, input.split.test, context_, share.status,
        [&](std::size_t begin, const torch::Tensor& predicted, const torch::Tensor& actual) {
          const auto correlations = linex::pearson_columns(predicted, actual);
          for (std::size_t j = 0; j < correlations.size(); ++j) {
            linex::Status& status = share.status[begin + j];
            const double of = ceiling.value[begin + j];
            if (status == linex::Status::ok && !std::isfinite(of))
              status = ceiling.status[begin + j];
            if (status == linex::Status::ok && !std::isfinite(correlations[j]))
              status = linex::Status::constant;
            // What no function predicts has no share that an explanation could take.
            if (status == linex::Status::ok && !(of > 0)) status = linex::Status::no_concept;
            if (sane && status == linex::Status::ok)
              spoil(input.explanations[begin + j],
                    predicted.select(1, static_cast<std::int64_t>(j)),
                    actual.select(1, static_cast<std::int64_t>(j)), of, sanity);
            share.value.push_back(status == linex::Status::ok ? correlations[j] / of
                                                              : linex::kNone);
          }
        });
    if (sane) report(sanity, share);
  }

  const linex::PluginContext& context_;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(
    CeilingEvaluator, "ceiling", "0.1.0",
    "best correlation any function of the concepts reaches, and the share reached")
