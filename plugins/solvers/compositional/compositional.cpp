// Compositional explanations: the formula of concepts that overlaps a unit's mask most
// (docs/methods.md §2.4).
#include <linex/plugin.hpp>

#include "linex/ability.hpp"
#include "linex/error.hpp"
#include "masks.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/formula_search.hpp"

namespace {

using linex::option::choice;
using linex::option::integer;
using linex::option::real;

class Compositional final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      choice("of", "activations", "activations|maps",
             "what a formula is compared with: images whose activation is high (any labeler), or "
             "pixels where a unit's map is high (a network and a labeler of pixels)"),
      choice("search", "beam", "beam|optimal",
             "beam is the published search; optimal goes on, best first, until no formula of the "
             "length overlaps more"),
      integer("length", 3, 1, 10, "most concepts in a formula"),
      integer("beam", 5, 1, 1000, "formulas kept at each length"),
      real("penalty", 1, 0.1, 1,
           "the overlap of a formula counts this times less a further concept"),
      integer("expansions", 20000, 1, 1000000000,
              "optimal: formulas that are joined with every concept before it ends unproven"),
      real("quantile", 0, 0, 0.99999,
           "a unit is on above this quantile of itself; 0: 0.995 of maps, 0.95 of activations"),
      real("presence", 0.5, -1e30, 1e30,
           "activations: a concept is in an image from this presence"),
  };

  explicit Compositional(const linex::PluginContext& context) : context_(context) {
    const auto& options = context.options();
    maps_ = options.text("of") == "maps";
    optimal_ = options.text("search") == "optimal";
    quantile_ = options.real("quantile");
    if (quantile_ == 0) quantile_ = maps_ ? 0.995 : 0.95;
    if (optimal_ && options.real("penalty") != 1)
      throw linex::usage_error(
          "solver.search: optimal knows no solver.penalty; leave one of them out");
  }

  linex::SolverNeeds needs() const override {
    if (maps_) return {false, false, true, true};
    return {true, true, false, false};
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    std::vector<std::string> names = problem.concepts;
    linex::PlaceMasks masks = maps_ ? of_maps(problem, names) : of_activations(problem);
    sort_by_name(masks, names);
    std::vector<linex::Explanation> block(problem.units.size());
    std::vector<linex::OptimalFormula> found(problem.units.size());
    const auto progress =
        context_.progress("formulas", static_cast<std::int64_t>(found.size()), "units");
    linex::parallel_for(static_cast<std::int64_t>(found.size()), context_.run().threads,
                        [&](std::int64_t k) {
                          linex::check_cancelled(context_);
                          const auto at = static_cast<std::size_t>(k);
                          if (masks.varies[at]) found[at] = search(masks, masks.units[at]);
                          progress->advance(1);
                        });
    for (std::size_t k = 0; k < found.size(); ++k) {
      linex::Explanation& explanation = block[k];
      explanation.unit = problem.units[k];
      if (!masks.varies[k]) {
        explanation.status = linex::Status::dead;
      } else if (found[k].best.chain.empty() || !(found[k].best.score > 0)) {
        explanation.status = linex::Status::no_concept;
      } else {
        explanation.terms = {{to_text(linex::formula_of(found[k].best.chain, names)), 1.0}};
        explanation.objective = found[k].best.score;
      }
    }
    block.erase(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(problem.finished));
    if (!block.empty()) emit(block);
    return report(found);
  }

 private:
  linex::PlaceMasks of_activations(const linex::Problem& problem) const {
    if (problem.split.train.empty())
      throw linex::input_error("the train split has no rows; give other fractions in data.split");
    return linex::image_masks(*problem.presence, problem.activations, problem.units,
                              problem.split.train, quantile_, context_.options().real("presence"),
                              context_.run().threads);
  }

  /// Equals are preferred in the order of concepts: here of their names, whatever that of a list.
  static void sort_by_name(linex::PlaceMasks& masks, std::vector<std::string>& names) {
    std::vector<linex::PlaceSet> sets;
    std::vector<std::string> sorted;
    for (const std::size_t c : linex::name_order(names)) {
      sets.push_back(std::move(masks.concepts[c]));
      sorted.push_back(names[c]);
    }
    masks.concepts = std::move(sets);
    names = std::move(sorted);
  }

  linex::PlaceMasks of_maps(const linex::Problem& problem, std::vector<std::string>& names) const {
    if (!problem.model || !problem.data)
      throw linex::input_error(
          "solver compositional: maps need a network and its images, not recorded matrices; take "
          "solver.of=activations");
    const auto* const labels =
        problem.labeler ? linex::ability<linex::PixelLabels>(*problem.labeler) : nullptr;
    if (!labels)
      throw linex::usage_error(
          "solver compositional: maps need labelled pixels; use labeler.plugin=segmentation or "
          "solver.of=activations");
    names = problem.labeler->concepts();
    linex::UnitMaps maps(*problem.model, problem.data, problem.layer, problem.units, context_);
    return linex::pixel_masks(maps, *labels, quantile_);
  }

  linex::OptimalFormula search(const linex::PlaceMasks& masks, const linex::PlaceSet& unit) const {
    using Joint = linex::FormulaStep::Joint;
    const auto& options = context_.options();
    const linex::FormulaProblem problem{masks.concepts, masks.places, &unit, nullptr};
    linex::FormulaBeam beam;
    beam.beam = options.integer("beam");
    beam.length = options.integer("length");
    for (std::size_t c = 0; c < masks.concepts.size(); ++c) {
      const auto concept_ = static_cast<std::int64_t>(c);
      beam.starts.push_back({Joint::start, concept_, false});
      for (const auto& [joint, negated] :
           {std::pair(Joint::disjunction, false), std::pair(Joint::conjunction, false),
            std::pair(Joint::conjunction, true)})
        beam.joins.push_back({joint, concept_, negated});
    }
    const double penalty = options.real("penalty"), places = static_cast<double>(unit.count());
    const auto score = [&](const linex::SetTally& tally, std::int64_t length) {
      const double value = linex::overlap(tally, places);
      // As published, a formula starts from a concept that the unit's mask meets.
      if (length == 1 && !(value > 0)) return linex::kNone;
      return value * std::pow(penalty, static_cast<double>(length - 1));
    };
    linex::OptimalFormula result;
    const auto formulas = linex::beam_formulas(problem, score, beam);
    if (!formulas.empty()) result.best = formulas.front();
    if (!optimal_) return result;
    linex::OptimalOptions how;
    how.length = beam.length;
    how.expansions = options.integer("expansions");
    return linex::optimal_overlap(problem, result.best, how);
  }

  linex::SolveReport report(const std::vector<linex::OptimalFormula>& found) const {
    linex::SolveReport report;
    std::vector<double> overlaps, proven, gap;
    for (const auto& one : found) {
      if (one.best.chain.empty()) continue;
      overlaps.push_back(one.best.score);
      proven.push_back(one.proven);
      gap.push_back(one.bound - one.best.score);
    }
    report.figures["mean_iou"] = linex::mean_sem(overlaps).mean;
    if (!optimal_) return report;
    report.figures["exact/share certified"] = linex::mean_sem(proven).mean;
    report.figures["exact/mean gap"] = linex::mean_sem(gap).mean;
    return report;
  }

  const linex::PluginContext& context_;
  bool maps_ = false, optimal_ = false;
  double quantile_ = 0;
};

}  // namespace

LINEX_SOLVER_PLUGIN(Compositional, "compositional", "0.1.0",
                    "Compositional explanations: the formula of concepts that overlaps a unit most")
