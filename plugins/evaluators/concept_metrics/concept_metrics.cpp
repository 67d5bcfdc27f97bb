// Every metric of "Evaluating neuron explanations: a unified framework with sanity checks"
// (docs/methods.md §5.1) of every explanation, on the test rows; the two sanity tests; CoSy's
// scores where images of the concepts are given.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "linex/cluster.hpp"
#include "linex/plugin.hpp"
#include "metrics.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "two_sets.hpp"

namespace {

using linex::kMetrics;
using linex::kNone;
using linex::Status;
namespace option = linex::option;

class ConceptMetrics final : public linex::Evaluator, public linex::SharesWork {
 public:
  static constexpr std::array kOptions{
      option::real("alpha", 0.05, 1e-9, 1, "share of rows in which a unit counts as on"),
      option::real("threshold", 0.5, 0, 1, "presence from which a concept counts as present"),
      option::real("lambda", 1, 0, 100, "of WPMI: discount of frequent concepts"),
      option::real("top_share", 0.002, 1e-9, 1, "top-and-random: share of rows that are top"),
      option::integer("sample", 25, 1, 1000000, "top-and-random: rows drawn of either kind"),
      option::flag("sanity", false,
                   "spoil the concepts and tell which metrics notice: missing and extra labels"),
      option::path("concept_images", "",
                   "folder with one sub-folder of images a concept: adds CoSy's AUC and MAD "
                   "against the test images")};

  explicit ConceptMetrics(const linex::PluginContext& context) : context_(context) {
    const auto& options = context.options();
    metric_options_.alpha = options.real("alpha");
    metric_options_.threshold = options.real("threshold");
    metric_options_.lambda = options.real("lambda");
    metric_options_.top_share = options.real("top_share");
    metric_options_.sample = options.integer("sample");
    metric_options_.seed = context.run().seed;
  }

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const auto count = input.explanations.size();
    const auto n = static_cast<std::int64_t>(input.split.test.size());
    const auto* const cluster = linex::ability<linex::Cluster>(context_);
    const linex::Share share = linex::share_of(static_cast<std::int64_t>(count), 1, cluster);
    std::vector<Scored> mine(static_cast<std::size_t>(share.size()));
    const bool sanity = context_.options().flag("sanity");

    const linex::Simulation simulation(input.explanations, *input.simulator);
    std::vector<Status> status = simulation.status();
    linex::simulate_share(
        simulation, input.explanations, share, input.activations, input.split.test, context_,
        status,
        [&](std::size_t begin, const torch::Tensor& predicted, const torch::Tensor& actual) {
          const auto simulated = predicted.t().contiguous(), activations = actual.t().contiguous();
          linex::parallel_for(simulated.size(0), context_.run().threads, [&](std::int64_t i) {
            linex::check_cancelled(context_);
            const std::size_t at = begin + static_cast<std::size_t>(i);
            const linex::Explanation& explanation = input.explanations[at];
            Scored& scored = mine[at - static_cast<std::size_t>(share.begin)];
            scored.status = status[at];
            if (scored.status != Status::ok) return;
            const auto presence =
                linex::presence_behind(explanation, simulated.data_ptr<float>() + i * n, n);
            const float* a = activations.data_ptr<float>() + i * n;
            const auto [least, most] = std::minmax_element(a, a + n);
            // A metric may lack a number for other reasons, such as no row with the concept.
            if (n > 0 && *least == *most) {
              scored.status = Status::constant;
              return;
            }
            const linex::UnitConcept pair{a, presence.data(), n};
            scored.values = linex::concept_metrics(pair, metric_options_);
            if (sanity) scored.trial = spoil(pair, scored.values, explanation.unit);
          });
        });
    const std::vector<Scored> all = linex::gather_shares(cluster, mine);

    std::vector<linex::ScoreColumn> columns;
    for (std::size_t m = 0; m < kMetrics.size(); ++m) {
      linex::ScoreColumn column{kMetrics[m].name, true, {}, {}, {}, {}};
      for (const Scored& scored : all) {
        column.value.push_back(scored.values[m]);
        column.status.push_back(scored.status);
      }
      columns.push_back(std::move(column));
    }
    if (sanity) {
      std::vector<linex::SanityTrial> trials;
      for (const Scored& scored : all)
        if (scored.status == Status::ok) trials.push_back(scored.trial);
      const auto result = linex::judge_sanity(trials);
      report_sanity(result);
      for (std::size_t m = 0; m < kMetrics.size() && result.units > 0; ++m)
        columns[m].sanity = {{"missing labels", result.missing_pass[m]},
                             {"extra labels", result.extra_pass[m]},
                             {"reliable", result.reliable[m] ? 1 : 0}};
    }
    if (const auto& folder = context_.options().path("concept_images"); !folder.empty())
      for (auto& column : linex_metrics::two_set_columns(input, folder, context_))
        columns.push_back(std::move(column));
    return columns;
  }

  const void* ability(const char* name) const override {
    return linex::offer<linex::SharesWork>(name, this);
  }

 private:
  /// Of one explanation.
  struct Scored {
    Scored() { values.fill(kNone); }
    linex::MetricValues values;
    linex::SanityTrial trial{};  ///< where they were spoiled
    Status status = Status::ok;
  };

  linex::SanityTrial spoil(const linex::UnitConcept& pair, const linex::MetricValues& original,
                           std::int64_t unit) const {
    auto random = linex::Random::stream(context_.run().seed, static_cast<std::uint64_t>(unit));
    const auto missing =
        linex::missing_labels(pair.presence, pair.n, metric_options_.threshold, random.next());
    const auto extra =
        linex::extra_labels(pair.presence, pair.n, metric_options_.threshold, random.next());
    return {original,
            linex::concept_metrics({pair.activation, missing.data(), pair.n}, metric_options_),
            linex::concept_metrics({pair.activation, extra.data(), pair.n}, metric_options_)};
  }

  void report_sanity(const linex::SanityResult& result) const {
    char line[160];
    std::snprintf(line, sizeof line,
                  "sanity tests over %lld units: share of units whose metric falls when labels are",
                  static_cast<long long>(result.units));
    context_.log().info(line);
    std::snprintf(line, sizeof line, "%-28s %8s %8s  %s", "metric", "missing", "extra", "reliable");
    context_.log().info(line);
    for (std::size_t m = 0; m < kMetrics.size(); ++m) {
      std::snprintf(line, sizeof line, "%-28s %7.1f%% %7.1f%%  %s", kMetrics[m].name,
                    100 * result.missing_pass[m], 100 * result.extra_pass[m],
                    result.reliable[m] ? "yes" : "no");
      context_.log().info(line);
    }
  }

  const linex::PluginContext& context_;
  linex::MetricOptions metric_options_;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(ConceptMetrics, "concept_metrics", "0.1.0",
                       "recall to AUPRC of concepts for units, with sanity tests and CoSy's scores")
