// Exact Linear Explanations from moments: elastic-net ranking to a duality gap, then a search for
// the few concepts that say it best.
#include <linex/ability.hpp>
#include <linex/cluster.hpp>
#include <linex/plugin.hpp>

#include <chrono>

#include "by_ranks.hpp"
#include "linex/error.hpp"
#include "stability_table.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/math/linear_explanations.hpp"
#include "toolkit/math/product_search.hpp"
#include "toolkit/math/stability.hpp"

namespace {

using linex::option::choice;
using linex::option::flag;
using linex::option::integer;
using linex::option::real;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class LinearSolver final : public linex::SparseSolver, public linex::SharesWork {
 public:
  static constexpr std::array kOptions{
      real("lambda", 0.05, 1e-6, 1e6,
           "elastic-net penalty of the ranking, divided by max(0.001, alpha) as published"),
      real("alpha", 0.99, 0.001, 1, "share of the L1 part in the penalty"),
      integer("max_length", 10, 1, 64, "most concepts in an explanation"),
      real("price", -1, -1, 1,
           "swap and forward: of the lengths found, take the one whose correlation (mean of "
           "training and validation) less this for every concept after the first is highest; "
           "-1: 1.5 * tolerance"),
      real("tolerance", 0.02, 0, 1,
           "greedy: validation correlation a further concept must add; swap and forward: training "
           "correlation below which the search ends, and the unit of the price"),
      integer("width", 10, 1, 10000, "greedy search: best-ranked candidates tried in a step"),
      choice(
          "search", "swap", "swap|forward|exact|greedy|none",
          "swap and forward choose among all concepts by the training rows; exact proves that no "
          "other concepts explain more; greedy is the published search; none takes the "
          "best-ranked max_length"),
      integer("exact_scans", 1000000, 1, 1000000000000,
              "exact: looks through the concepts for a unit and length, before it ends unproven"),
      real("exact_seconds", 0, 0, 1e9,
           "exact: end sooner, after so long for 512 units; results then depend on the machine; 0: "
           "do not"),
      choice("terms", "concepts", "concepts|products",
             "products: also `A AND B`, the presence of two concepts multiplied, which counts as "
             "two"),
      choice("link", "identity", "identity|relu|softplus",
             "what the sum goes through, where it predicts better so: a rectified unit is never "
             "negative"),
      real("gap", 1e-6, 1e-12, 1, "stop the ranking at a duality gap of gap/2 * mean(y^2)"),
      flag("non_negative", false, "weights must not be negative"),
      integer("path", 0, 0, 1000,
              "values of lambda tried from 1 down to lambda, selected on validation; 0: one"),
      real("min_presence", 0.5, -1e30, 1e30,
           "leave out concepts whose five largest presences average below this"),
      integer("stability", 0, 0, 100000,
              "searches on so many resamples of the rows: how often each concept comes back, and "
              "between which weights (stability.csv)"),
      integer("noise_floor", 0, 0, 1000000,
              "search so many units with shuffled activations, too: what is found where there is "
              "nothing to find (figures of summary.json)"),
      choice("compat", "none", "none|published",
             "published: filter concepts and standardise units over all rows, test included"),
      integer("tile_rows", 4096, 64, 1 << 20, "rows multiplied at a time"),
      integer("block", 1024, 16, 8192, "side of the blocks of a product"),
  };

  explicit LinearSolver(const linex::PluginContext& context) : context_(context) {
    const linex::OptionValues& values = context.options();
    options_.lambda = values.real("lambda");
    options_.alpha = values.real("alpha");
    options_.gap = values.real("gap");
    options_.path = values.integer("path");
    options_.search.kind = linex::search_from_string(values.text("search"));
    options_.search.max_length = values.integer("max_length");
    options_.search.tolerance = values.real("tolerance");
    options_.search.price = values.real("price");
    options_.search.width = values.integer("width");
    options_.search.exact_scans = values.integer("exact_scans");
    options_.search.exact_seconds = values.real("exact_seconds");
    options_.search.non_negative = values.flag("non_negative");
    const auto kind = options_.search.kind;
    if (kind == linex::SearchKind::exact && options_.search.non_negative)
      throw linex::usage_error(
          "solver.search: exact knows no solver.non_negative; leave one of them out");
    if (values.integer("stability") > 0 && kind != linex::SearchKind::swap &&
        kind != linex::SearchKind::forward)
      throw linex::usage_error(
          "solver.stability: only search=swap and search=forward are repeated on resamples; "
          "choose one of them or leave it out");
    products_.products = values.text("terms") == "products";
    products_.link = values.text("link") == "relu"       ? linex::Link::Kind::relu
                     : values.text("link") == "softplus" ? linex::Link::Kind::softplus
                                                         : linex::Link::Kind::identity;
    products_.search = options_.search;
    products_.threads = context.run().threads;
    products_.memory_bytes = context.run().memory_bytes;
    if (more_than_sums() && (values.integer("stability") > 0 || values.integer("noise_floor") > 0 ||
                             options_.search.non_negative || kind == linex::SearchKind::exact))
      throw linex::usage_error(
          "solver: search=exact, stability, noise_floor and non_negative are of terms=concepts "
          "with link=identity; leave them out");
    regression_.min_presence = values.real("min_presence");
    regression_.published = values.text("compat") == "published";
    regression_.moments.tile_rows = values.integer("tile_rows");
    regression_.moments.block = values.integer("block");
    regression_.moments.threads = context.run().threads;
    regression_.moments.memory_bytes = context.run().memory_bytes;
    regression_.moments.device = context.run().device;
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    // Units are solved and stored in fixed blocks, so a resumed run sees the same blocks.
    constexpr std::int64_t kUnitBlock = 512;
    const int threads = context_.run().threads;
    const std::int64_t count = static_cast<std::int64_t>(problem.units.size());
    const std::int64_t finished = static_cast<std::int64_t>(problem.finished);
    linex::SolveReport report;
    if (finished >= count) return report;

    const auto* const cluster = linex::ability<linex::Cluster>(context_);
    regression_.moments.cluster = cluster;
    const auto start = std::chrono::steady_clock::now();
    const linex::RegressionInput input{*problem.presence, problem.activations, problem.units,
                                       problem.split};
    linex::Regression regression = measure(input);
    if (options_.search.kind == linex::SearchKind::exact) check_room(regression.concept_count());
    report.timings_s["moments"] = seconds_since(start);

    const linex::HeldOut validation = regression.validation();
    linex::StabilityTable stability(problem.layer);
    std::vector<linex::Selection> selections;
    for (std::int64_t begin = 0; begin < count; begin += kUnitBlock) {
      linex::check_cancelled(context_);
      const std::int64_t end = std::min(count, begin + kUnitBlock);
      // Also what is finished: rows of a lazy Gram matrix depend on what was asked before, and
      // figures are of all units.
      auto block = cluster
                       ? linex::explain_shared(*cluster, regression, validation, problem.concepts,
                                               begin, end, options_, threads, selections)
                       : linex::explain(regression, validation, problem.concepts, begin, end,
                                        options_, threads, &selections);
      if (context_.options().integer("stability") > 0)
        resample(regression, begin, selections, problem.concepts, stability, report);
      if (more_than_sums()) add_products(regression, begin, problem.concepts, selections, block);
      if (end <= finished) continue;
      if (begin < finished) block.erase(block.begin(), block.begin() + (finished - begin));
      emit(block);
    }
    for (const auto& point : linex::frontier(selections, options_.search.term_price())) {
      const std::string name = "frontier/price " + linex::significant(point.price) + "/";
      report.figures[name + "length"] = point.length;
      report.figures[name + "val correlation"] = point.val;
    }
    if (options_.search.kind == linex::SearchKind::exact) report_proofs(selections, report);
    if (context_.options().integer("stability") > 0) {
      report.figures["mean_stability"] = stability.mean_jaccard();
      if (!context_.run().out.empty()) stability.write(context_.run().out / "stability.csv");
    }
    if (const std::int64_t units = context_.options().integer("noise_floor"); units > 0)
      report_noise_floor(
          linex::noise_floor(regression, options_, units, context_.run().seed, threads), report);
    linex::report_concepts(regression, problem.concepts.size(), regression_.min_presence,
                           context_.log(), report);
    report.figures["gram_rows"] = static_cast<double>(regression.gram->rows_there());
    return report;
  }

  const void* ability(const char* name) const override {
    return linex::offer<linex::SharesWork>(name, this);
  }

 private:
  bool more_than_sums() const {
    return products_.products || products_.link != linex::Link::Kind::identity;
  }

  /// Replaces the explanations of units from `begin` on, and their lengths to choose from.
  void add_products(linex::Regression& regression, std::int64_t begin,
                    const std::vector<std::string>& names,
                    std::vector<linex::Selection>& selections,
                    std::vector<linex::Explanation>& block) const {
    std::vector<std::int64_t> units;
    for (std::int64_t k = begin; k < static_cast<std::int64_t>(selections.size()); ++k)
      units.push_back(k);
    const auto from = selections.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto found =
        linex::search_products(regression, units, {from, selections.end()}, products_);
    for (std::size_t i = 0; i < units.size(); ++i) {
      if (found[i].chosen.terms.empty()) continue;
      auto explanation = linex::explanation_of(regression, names, units[i], found[i].chosen);
      block[i].terms = std::move(explanation.terms);
      block[i].bias = explanation.bias;
      block[i].text = std::move(explanation.text);
      block[i].val_correlation = explanation.val_correlation;
      if (!products_.products) continue;
      std::vector<linex::LengthFound> lengths;
      for (const auto& model : found[i].lengths) {
        lengths.emplace_back();
        lengths.back().terms = static_cast<std::int64_t>(lengths.size());
        lengths.back().train = model.train;
        lengths.back().val = model.val;
      }
      from[static_cast<std::ptrdiff_t>(i)].lengths = std::move(lengths);
    }
  }

  /// Stability of the units from `begin` to the last selection.
  void resample(linex::Regression& regression, std::int64_t begin,
                const std::vector<linex::Selection>& selections,
                const std::vector<std::string>& names, linex::StabilityTable& table,
                linex::SolveReport& report) const {
    linex::StabilityOptions options;
    options.resamples = context_.options().integer("stability");
    options.seed = context_.run().seed;
    options.search = options_.search;
    options.threads = context_.run().threads;
    std::vector<std::int64_t> units;
    for (std::int64_t k = begin; k < static_cast<std::int64_t>(selections.size()); ++k)
      units.push_back(k);
    const std::vector<linex::Selection> block(
        selections.begin() + static_cast<std::ptrdiff_t>(begin), selections.end());
    linex::StabilitySeconds seconds;
    const auto found = linex::stability(regression, units, block, options, &seconds);
    report.timings_s["stability moments"] += seconds.moments;
    report.timings_s["stability"] += seconds.search;
    for (std::size_t i = 0; i < units.size(); ++i)
      table.add(regression, units[i], names, block[i], found[i]);
  }

  /// Of the explanations as they came out: how many are the best of their length, and how far the
  /// others and those of swap may be from it, in training correlation.
  static void report_proofs(const std::vector<linex::Selection>& selections,
                            linex::SolveReport& report) {
    std::vector<double> certified, gap, swap_gap, swap_best;
    for (const auto& selection : selections)
      for (const auto& found : selection.lengths) {
        if (found.terms != static_cast<std::int64_t>(selection.terms.size())) continue;
        certified.push_back(found.certified);
        gap.push_back(found.certified ? 0 : found.bound - found.train);
        swap_gap.push_back(found.train - found.by_swap);
        swap_best.push_back(found.train - found.by_swap < 1e-6);
      }
    report.figures["exact/share certified"] = linex::mean_sem(certified).mean;
    report.figures["exact/mean gap"] = linex::mean_sem(gap).mean;
    report.figures["exact/share swap found as good"] = linex::mean_sem(swap_best).mean;
    report.figures["exact/mean gap of swap"] = linex::mean_sem(swap_gap).mean;
    report.figures["exact/largest gap of swap"] =
        swap_gap.empty() ? linex::kNone : *std::max_element(swap_gap.begin(), swap_gap.end());
  }

  /// Throws Error(input) where the matrices of an exact search do not fit run.memory.
  void check_room(std::int64_t concepts) const {
    // The moments, and for each thread a copy in another order and its factorisation.
    const double bytes = static_cast<double>(concepts) * static_cast<double>(concepts) *
                         (4 + 12.0 * context_.run().threads);
    if (bytes <= static_cast<double>(context_.run().memory_bytes)) return;
    throw linex::input_error("solver.search=exact needs " + linex::significant(bytes / (1 << 30)) +
                             " GiB for " + std::to_string(concepts) +
                             " concepts, more than run.memory; raise it, lower run.threads, give "
                             "fewer concepts or take search=swap");
  }

  static void report_noise_floor(const linex::NoiseFloor& floor, linex::SolveReport& report) {
    const std::string name = "noise floor/";
    report.figures[name + "units"] = static_cast<double>(floor.units);
    report.figures[name + "explained"] = static_cast<double>(floor.val.n);
    report.figures[name + "val correlation"] = floor.val.mean;
    report.figures[name + "sim correlation"] = floor.test.mean;
    report.figures[name + "sem sim correlation"] = floor.test.sem;
    report.figures[name + "length"] = floor.length;
  }

  linex::Regression measure(const linex::RegressionInput& input) const {
    const auto progress =
        context_.progress("moments", linex::Regression::ticks(input, regression_), "rows");
    return linex::Regression(input, regression_, [&](std::int64_t rows) {
      linex::check_cancelled(context_);
      progress->advance(rows);
    });
  }

  const linex::PluginContext& context_;
  linex::LinearOptions options_;
  linex::ProductOptions products_;
  linex::RegressionOptions regression_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(LinearSolver, "linear", "0.1.0",
                    "Linear Explanations, exact: few weighted concepts for each unit")
