// Network Dissection: each unit gets the label whose pixels its mask fits best (docs/methods.md
// §2.2).
#include <filesystem>
#include <set>

#include "dissection.hpp"
#include "linex/plugin.hpp"

namespace {

using linex::option::choice;
using linex::option::real;

linex::QuantileMethod method_from(const std::string& name) {
  if (name == "exact") return linex::QuantileMethod::exact;
  return name == "sketch" ? linex::QuantileMethod::sketch : linex::QuantileMethod::automatic;
}

class NetDissect final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      real("threshold", 0.04, 0, 1, "least IoU that makes a unit a detector (counted, not hidden)"),
      real("quantile", 0.995, 0.5, 1, "a unit's mask is where it exceeds this quantile of itself"),
      choice("quantiles", "auto", "auto|exact|sketch",
             "exact keeps the values above the quantile; a sketch bounds the memory"),
  };

  explicit NetDissect(const linex::PluginContext& context) : context_(context) {
    options_.quantile = context.options().real("quantile");
    options_.method = method_from(context.options().text("quantiles"));
  }

  linex::SolverNeeds needs() const override { return {false, false, true, true}; }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    if (!problem.model || !problem.data)
      throw linex::input_error(
          "solver net_dissect needs a network and its images, not recorded "
          "matrices");
    const auto* const labels =
        problem.labeler ? linex::ability<linex::PixelLabels>(*problem.labeler) : nullptr;
    if (!labels)
      throw linex::usage_error(
          "solver net_dissect needs labelled pixels; use "
          "labeler.plugin=segmentation");
    linex::UnitMaps maps(*problem.model, problem.data, problem.layer, problem.units, context_);
    const auto tallies = linex::tally_pixels(maps, *labels, options_);
    const auto names = labels->pixel_labels();
    const auto matches = linex::match_units(tallies, names);
    write_tally(problem, matches, names);

    const auto concepts = problem.labeler->concepts();
    std::vector<linex::Explanation> block;
    for (std::size_t i = problem.finished; i < matches.size(); ++i)
      block.push_back(explain(problem.units[i], matches[i], concepts));
    if (!block.empty()) emit(block);
    return report(matches);
  }

 private:
  static linex::Explanation explain(std::int64_t unit, const linex::UnitMatch& match,
                                    const std::vector<std::string>& concepts) {
    linex::Explanation explanation;
    explanation.unit = unit;
    if (match.best < 0) {
      explanation.status = linex::Status::dead;
    } else if (!(match.score() > 0)) {
      explanation.status = linex::Status::no_concept;
    } else {
      const auto label = match.categories[static_cast<std::size_t>(match.best)].label;
      explanation.terms = {{concepts[static_cast<std::size_t>(label)], 1.0}};
      explanation.objective = match.score();
    }
    return explanation;
  }

  /// The first layer of a run has the published name, further ones carry their own.
  void write_tally(const linex::Problem& problem, const std::vector<linex::UnitMatch>& matches,
                   const std::vector<linex::PixelLabel>& names) {
    const auto& out = context_.run().out;
    if (out.empty()) return;
    const std::string file = layers_++ == 0 ? "tally.csv" : "tally." + problem.layer + ".csv";
    linex::write_tally(out / file, problem.units, matches, names);
  }

  linex::SolveReport report(const std::vector<linex::UnitMatch>& matches) const {
    const double threshold = context_.options().real("threshold");
    std::set<std::int64_t> labels;
    double detectors = 0, sum = 0;
    for (const auto& match : matches) {
      sum += match.score();
      if (match.best < 0 || match.score() < threshold) continue;
      ++detectors;
      labels.insert(match.categories[static_cast<std::size_t>(match.best)].label);
    }
    linex::SolveReport report;
    report.figures["detectors"] = detectors;
    report.figures["unique_detectors"] = static_cast<double>(labels.size());
    report.figures["mean_iou"] = sum / static_cast<double>(matches.size());
    return report;
  }

  const linex::PluginContext& context_;
  linex::DissectionOptions options_;
  int layers_ = 0;
};

}  // namespace

LINEX_SOLVER_PLUGIN(NetDissect, "net_dissect", "0.1.0",
                    "Network Dissection: the label whose pixels a unit's mask fits best")
