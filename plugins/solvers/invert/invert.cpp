// Inverse recognition: the formula of concepts that a unit's activation tells best
// (docs/methods.md §2.5).
#include <linex/plugin.hpp>

#include "linex/error.hpp"
#include "recognition.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/math/formula_search.hpp"
#include "toolkit/math/row_source.hpp"

namespace {

using linex::option::integer;
using linex::option::real;

/// A formula on rows: how well the unit tells it.
struct Told {
  double area = linex::kNone, p = linex::kNone, share = linex::kNone;
};

class Invert final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      integer("length", 3, 1, 10, "most concepts in a formula"),
      integer("beam", 3, 1, 1000, "formulas kept at each length"),
      real("min_fraction", 0.005, 0, 1, "least share of images that a formula is true of"),
      real("max_fraction", 0.5, 0, 1, "largest share of images that a formula is true of"),
      integer("limit", 0, 0, 1000000,
              "join formulas with so many of the best concepts and negations alone; 0: all"),
      real("presence", 0.5, -1e30, 1e30, "a concept is in an image from this presence"),
  };

  explicit Invert(const linex::PluginContext& context) : context_(context) {
    options_.beam = context.options().integer("beam");
    options_.length = context.options().integer("length");
    options_.least = context.options().real("min_fraction");
    options_.most = context.options().real("max_fraction");
    options_.limit = context.options().integer("limit");
    if (options_.least > options_.most)
      throw linex::usage_error("solver.min_fraction is above solver.max_fraction");
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    const int threads = context_.run().threads;
    if (problem.split.train.empty())
      throw linex::input_error("the train split has no rows; give other fractions in data.split");
    const double presence = context_.options().real("presence");
    // Equals are preferred in the order of concepts: here of their names.
    std::vector<std::string> names;
    const auto order = linex::name_order(problem.concepts);
    for (const std::size_t c : order) names.push_back(problem.concepts[c]);
    const auto sets = [&](const linex::Rows& rows) {
      auto read = linex::concept_sets(*problem.presence, rows, presence, threads);
      std::vector<linex::PlaceSet> sorted;
      for (const std::size_t c : order) sorted.push_back(std::move(read[c]));
      return sorted;
    };
    const auto train = sets(problem.split.train), unseen = sets(problem.split.val);
    const std::size_t count = problem.units.size();
    std::vector<linex::Explanation> block(count);
    std::vector<Told> on_train(count), on_unseen(count);
    const auto progress = context_.progress("formulas", static_cast<std::int64_t>(count), "units");
    linex::parallel_for(static_cast<std::int64_t>(count), threads, [&](std::int64_t k) {
      linex::check_cancelled(context_);
      const auto at = static_cast<std::size_t>(k);
      linex::Explanation& explanation = block[at];
      explanation.unit = problem.units[at];
      const auto ranks = ranks_of(problem, explanation.unit, problem.split.train);
      if (!ranks.varies) {
        explanation.status = linex::Status::dead;
      } else {
        const auto found = linex::invert_formula(
            train, static_cast<std::int64_t>(problem.split.train.size()), ranks, options_);
        if (found.chain.empty() || !(found.score > 0.5)) {
          explanation.status = linex::Status::no_concept;
        } else {
          explanation.terms = {{to_text(linex::formula_of(found.chain, names)), 1.0}};
          explanation.objective = found.score;
          on_train[at] = told(found.chain, train, problem.split.train.size(), ranks);
          if (!problem.split.val.empty())
            on_unseen[at] = told(found.chain, unseen, problem.split.val.size(),
                                 ranks_of(problem, explanation.unit, problem.split.val));
        }
      }
      progress->advance(1);
    });
    const auto report = report_of(block, on_train, on_unseen);
    write(problem, block, on_train, on_unseen);
    block.erase(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(problem.finished));
    if (!block.empty()) emit(block);
    return report;
  }

 private:
  static linex::ActivationRanks ranks_of(const linex::Problem& problem, std::int64_t unit,
                                         const linex::Rows& rows) {
    const linex::RowSource source = linex::activation_rows(problem.activations, {unit});
    std::vector<float> values(rows.size());
    linex::read_tile(source, rows, 0, static_cast<std::int64_t>(rows.size()), 1, values.data());
    return linex::activation_ranks(values);
  }

  static Told told(const linex::FormulaChain& chain, const std::vector<linex::PlaceSet>& concepts,
                   std::size_t images, const linex::ActivationRanks& ranks) {
    const linex::FormulaProblem problem{concepts, static_cast<std::int64_t>(images), nullptr,
                                        &ranks.rank};
    const auto tally = problem.tally(problem.set_of(chain));
    const auto n = static_cast<double>(images);
    return {linex::auroc(tally, n), linex::mann_whitney_p(tally, n, ranks.ties), tally.count / n};
  }

  static linex::SolveReport report_of(const std::vector<linex::Explanation>& block,
                                      const std::vector<Told>& on_train,
                                      const std::vector<Told>& on_unseen) {
    std::vector<double> area, unseen, significant;
    for (std::size_t k = 0; k < block.size(); ++k) {
      if (block[k].terms.empty()) continue;
      area.push_back(on_train[k].area);
      unseen.push_back(on_unseen[k].area);
      if (!std::isnan(on_unseen[k].p)) significant.push_back(on_unseen[k].p < 0.05);
    }
    linex::SolveReport report;
    report.figures["mean_auroc"] = linex::mean_sem(area).mean;
    report.figures["mean_auroc_unseen"] = linex::mean_sem(unseen).mean;
    report.figures["share_significant_unseen"] = linex::mean_sem(significant).mean;
    return report;
  }

  /// invert.csv; the first layer of a run has that name, further ones carry their own.
  void write(const linex::Problem& problem, const std::vector<linex::Explanation>& block,
             const std::vector<Told>& on_train, const std::vector<Told>& on_unseen) {
    const auto& out = context_.run().out;
    if (out.empty()) return;
    std::string text = linex::csv_record({"unit", "formula", "fraction", "auroc", "p value",
                                          "unseen fraction", "unseen auroc", "unseen p value"});
    for (std::size_t k = 0; k < block.size(); ++k) {
      std::vector<std::string> cells{
          std::to_string(block[k].unit),
          block[k].terms.empty() ? std::string() : block[k].terms[0].concept_name};
      for (const Told* one : {&on_train[k], &on_unseen[k]})
        for (const double value : {one->share, one->area, one->p})
          cells.push_back(linex::format_number(value));
      text += linex::csv_record(cells);
    }
    const std::string file = layers_++ == 0 ? "invert.csv" : "invert." + problem.layer + ".csv";
    linex::write_file_atomic(out / file, text);
  }

  const linex::PluginContext& context_;
  linex::InvertOptions options_;
  int layers_ = 0;
};

}  // namespace

LINEX_SOLVER_PLUGIN(Invert, "invert", "0.1.0",
                    "Inverse recognition: the formula of concepts that a unit's activation tells "
                    "best")
