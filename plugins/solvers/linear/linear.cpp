// Exact Linear Explanations from moments: elastic-net ranking to a duality gap, then a search for
// the few concepts that say it best.
#include <linex/plugin.hpp>

#include <chrono>

#include "toolkit/base/text.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace {

using linex::option::choice;
using linex::option::flag;
using linex::option::integer;
using linex::option::real;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class LinearSolver final : public linex::SparseSolver {
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
      choice("search", "swap", "swap|forward|greedy|none",
             "swap and forward choose among all concepts by the training rows; greedy is the "
             "published search; none takes the best-ranked max_length"),
      real("gap", 1e-6, 1e-12, 1, "stop the ranking at a duality gap of gap/2 * mean(y^2)"),
      flag("non_negative", false, "weights must not be negative"),
      integer("path", 0, 0, 1000,
              "values of lambda tried from 1 down to lambda, selected on validation; 0: one"),
      real("min_presence", 0.5, -1e30, 1e30,
           "leave out concepts whose five largest presences average below this"),
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
    options_.search.non_negative = values.flag("non_negative");
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

    const auto start = std::chrono::steady_clock::now();
    const linex::RegressionInput input{*problem.presence, problem.activations, problem.units,
                                       problem.split};
    linex::Regression regression = measure(input);
    report.timings_s["moments"] = seconds_since(start);

    const linex::HeldOut validation = regression.validation();
    std::vector<linex::Selection> selections;
    for (std::int64_t begin = 0; begin < count; begin += kUnitBlock) {
      linex::check_cancelled(context_);
      const std::int64_t end = std::min(count, begin + kUnitBlock);
      // Also what is finished: rows of a lazy Gram matrix depend on what was asked before, and
      // figures are of all units.
      auto block = linex::explain(regression, validation, problem.concepts, begin, end, options_,
                                  threads, &selections);
      if (end <= finished) continue;
      if (begin < finished) block.erase(block.begin(), block.begin() + (finished - begin));
      emit(block);
    }
    for (const auto& point : linex::frontier(selections, options_.search.term_price())) {
      const std::string name = "frontier/price " + linex::significant(point.price) + "/";
      report.figures[name + "length"] = point.length;
      report.figures[name + "val correlation"] = point.val;
    }
    linex::report_concepts(regression, problem.concepts.size(), regression_.min_presence,
                           context_.log(), report);
    report.figures["gram_rows"] = static_cast<double>(regression.gram->rows_there());
    return report;
  }

 private:
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
  linex::RegressionOptions regression_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(LinearSolver, "linear", "0.1.0",
                    "Linear Explanations, exact: few weighted concepts for each unit")
