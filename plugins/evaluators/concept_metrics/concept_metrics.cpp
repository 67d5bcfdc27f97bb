// Every metric of "Evaluating neuron explanations: a unified framework with sanity checks"
// (docs/methods.md §5.1) of every explanation, on the test rows; the two sanity tests; CoSy's
// scores where images of the concepts are given.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "linex/plugin.hpp"
#include "metrics.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "two_sets.hpp"

namespace {

using linex::kMetrics;
using linex::kNone;
using linex::Status;
namespace option = linex::option;

class ConceptMetrics final : public linex::Evaluator {
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
    std::vector<linex::MetricValues> values(count);
    for (auto& row : values) row.fill(kNone);
    std::vector<Status> status(count, Status::ok);
    const bool sanity = context_.options().flag("sanity");
    std::vector<linex::SanityTrial> trials(sanity ? count : 0);

    const auto test = torch::tensor(input.split.test, torch::kInt64);
    const auto block = static_cast<std::size_t>(std::max<std::int64_t>(
        1, context_.run().memory_bytes / 16 / 4 / std::max<std::int64_t>(n, 1)));
    for (std::size_t begin = 0; begin < count; begin += block) {
      const std::size_t end = std::min(count, begin + block);
      const std::vector<linex::Explanation> some(input.explanations.begin() + begin,
                                                 input.explanations.begin() + end);
      const linex::Simulation simulation(some, *input.simulator);
      std::vector<std::int64_t> units;
      for (std::size_t i = 0; i < some.size(); ++i) {
        status[begin + i] = simulation.status()[i];
        const bool exists = some[i].unit >= 0 && some[i].unit < input.activations.size(1);
        if (!exists) status[begin + i] = Status::unknown_unit;
        units.push_back(exists ? some[i].unit : 0);
      }
      const auto simulated =
          simulation.predict(input.split.test, context_.run().threads, context_.run().memory_bytes)
              .t()
              .contiguous();
      const auto actual = input.activations.index_select(0, test)
                              .index_select(1, torch::tensor(units, torch::kInt64))
                              .t()
                              .contiguous();
      linex::parallel_for(
          static_cast<std::int64_t>(some.size()), context_.run().threads, [&](std::int64_t i) {
            linex::check_cancelled(context_);
            const std::size_t at = begin + static_cast<std::size_t>(i);
            if (status[at] != Status::ok) return;
            const auto presence = linex::presence_behind(some[static_cast<std::size_t>(i)],
                                                         simulated.data_ptr<float>() + i * n, n);
            const float* a = actual.data_ptr<float>() + i * n;
            const auto [least, most] = std::minmax_element(a, a + n);
            // A metric may lack a number for other reasons, such as no row with the concept.
            if (n > 0 && *least == *most) {
              status[at] = Status::constant;
              return;
            }
            const linex::UnitConcept pair{a, presence.data(), n};
            values[at] = linex::concept_metrics(pair, metric_options_);
            if (sanity) trials[at] = spoil(pair, values[at], units[static_cast<std::size_t>(i)]);
          });
    }

    std::vector<linex::ScoreColumn> columns;
    for (std::size_t m = 0; m < kMetrics.size(); ++m) {
      linex::ScoreColumn column{kMetrics[m].name, true, {}, {}, {}, {}};
      for (std::size_t i = 0; i < count; ++i) {
        column.value.push_back(values[i][m]);
        column.status.push_back(status[i]);
      }
      columns.push_back(std::move(column));
    }
    if (sanity) {
      std::vector<linex::SanityTrial> scored;
      for (std::size_t i = 0; i < count; ++i)
        if (status[i] == Status::ok) scored.push_back(trials[i]);
      const auto result = linex::judge_sanity(scored);
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

 private:
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
