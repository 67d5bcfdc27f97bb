// The published solver: stochastic elastic net by glm_saga, then the greedy search; beside it the
// distance of its objective from the exact optimum.
#include <linex/plugin.hpp>

#include <chrono>

#include "saga.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace {

using linex::option::choice;
using linex::option::integer;
using linex::option::real;

class GlmSaga final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      real("lambda", 0.05, 1e-6, 1e6, "penalty, divided by max(0.001, alpha)"),
      real("alpha", 0.99, 0.001, 1, "share of the L1 part in the penalty"),
      integer("neuron_batch", 128, 1, 65536, "units solved together, with one stopping rule"),
      integer("batch", 512, 1, 1 << 20, "images a stochastic step"),
      real("rate", 5e-4, 1e-9, 1, "step size"),
      integer("look_behind", 5, 1, 1000, "epochs without improvement before it stops"),
      real("stop_tolerance", 1e-5, 0, 1, "improvement of the objective that counts, for each unit"),
      integer("max_epochs", 500, 1, 100000, "passes over the training images at most"),
      integer("max_length", 10, 1, 64, "most concepts in an explanation"),
      real("tolerance", 0.02, 0, 1, "validation correlation a further concept must add"),
      integer("width", 10, 1, 10000, "best-ranked candidates tried in a step"),
      real("min_presence", 0.5, -1e30, 1e30,
           "leave out concepts whose five largest presences average below this"),
      choice("compat", "published", "published|none",
             "published: filter concepts and standardise units over all rows, test included"),
  };

  explicit GlmSaga(const linex::PluginContext& context) : context_(context) {
    const linex::OptionValues& values = context.options();
    linear_.lambda = values.real("lambda");
    linear_.alpha = values.real("alpha");
    linear_.search.kind = linex::SearchKind::greedy;
    linear_.search.max_length = values.integer("max_length");
    linear_.search.tolerance = values.real("tolerance");
    linear_.search.width = values.integer("width");
    const auto net = linex::ElasticNetOptions::published(linear_.lambda, linear_.alpha);
    saga_.l1 = net.l1;
    saga_.l2 = net.l2;
    saga_.batch = values.integer("batch");
    saga_.rate = values.real("rate");
    saga_.look_behind = values.integer("look_behind");
    saga_.tolerance = values.real("stop_tolerance");
    saga_.max_epochs = values.integer("max_epochs");
    saga_.threads = context.run().threads;
    unit_batch_ = values.integer("neuron_batch");
    regression_.min_presence = values.real("min_presence");
    regression_.published = values.text("compat") == "published";
    regression_.moments.threads = context.run().threads;
    regression_.moments.memory_bytes = context.run().memory_bytes;
    regression_.moments.device = context.run().device;
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    const std::int64_t count = static_cast<std::int64_t>(problem.units.size());
    const std::int64_t finished = static_cast<std::int64_t>(problem.finished);
    linex::SolveReport report;
    if (finished >= count) return report;

    const auto start = std::chrono::steady_clock::now();
    const linex::RegressionInput input{*problem.presence, problem.activations, problem.units,
                                       problem.split};
    linex::Regression regression(input, regression_,
                                 [&](std::int64_t) { linex::check_cancelled(context_); });
    const linex::HeldOut validation = regression.validation();
    report.timings_s["moments"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const torch::Tensor x = standardised_concepts(problem, regression);

    Totals totals;
    for (std::int64_t begin = 0; begin < count; begin += unit_batch_) {
      const std::int64_t end = std::min(count, begin + unit_batch_);
      if (end <= finished && !regression.lazy) continue;
      auto block = explain(problem, regression, validation, x, begin, end, totals);
      if (end <= finished) continue;
      if (begin < finished) block.erase(block.begin(), block.begin() + (finished - begin));
      emit(block);
    }
    linex::report_concepts(regression, problem.concepts.size(), regression_.min_presence,
                           context_.log(), report);
    const double units = std::max(1.0, static_cast<double>(totals.units));
    report.figures["epochs_most"] = static_cast<double>(totals.epochs);
    report.figures["objective_mean"] = totals.objective / units;
    report.figures["objective_exact_mean"] = totals.exact / units;
    report.figures["objective_excess"] = totals.exact > 0 ? totals.objective / totals.exact - 1 : 0;
    return report;
  }

 private:
  struct Totals {
    std::int64_t units = 0, epochs = 0;
    double objective = 0, exact = 0;
  };

  /// The whole standardised training matrix: stochastic steps read rows in any order.
  torch::Tensor standardised_concepts(const linex::Problem& problem,
                                      const linex::Regression& regression) const {
    const std::int64_t n = static_cast<std::int64_t>(problem.split.train.size());
    const std::int64_t cols = regression.concept_count();
    if (cols && n > context_.run().memory_bytes / 4 / cols)
      throw linex::usage_error(
          "solver glm_saga keeps " + std::to_string(n) + " x " + std::to_string(cols) +
          " values in memory, more than run.memory; raise it or take solver.plugin=linear");
    torch::Tensor x = torch::empty({n, cols});
    const linex::RowSource source = linex::presence_rows(*problem.presence, regression.concepts);
    float* const values = x.data_ptr<float>();
    linex::read_tile(source, problem.split.train, 0, n, saga_.threads, values);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < cols; ++j) {
        const double std = regression.concept_std[static_cast<std::size_t>(j)];
        const double centred = static_cast<double>(values[i * cols + j]) -
                               regression.concept_mean[static_cast<std::size_t>(j)];
        values[i * cols + j] = std > 0 ? static_cast<float>(centred / std) : 0;
      }
    return x;
  }

  /// Columns `units` of the regression's standardised targets, (n, units).
  static torch::Tensor targets(const linex::Problem& problem, const linex::Regression& regression,
                               const std::vector<std::int64_t>& units) {
    const std::vector<std::int64_t>& rows = problem.split.train;
    torch::Tensor y = torch::empty(
        {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(units.size())});
    const torch::Tensor& all = problem.activations;
    const float* const a = all.data_ptr<float>();
    float* out = y.data_ptr<float>();
    for (const std::int64_t row : rows)
      for (const std::int64_t k : units) {
        const std::size_t unit = static_cast<std::size_t>(k);
        const double value =
            static_cast<double>(a[row * all.stride(0) + regression.units[unit] * all.stride(1)]);
        *out++ =
            static_cast<float>((value - regression.target_mean[unit]) / regression.unit_std[unit]);
      }
    return y;
  }

  std::vector<linex::Explanation> explain(const linex::Problem& problem,
                                          linex::Regression& regression,
                                          const linex::HeldOut& validation, const torch::Tensor& x,
                                          std::int64_t begin, std::int64_t end, Totals& totals) {
    std::vector<std::int64_t> all, live;
    for (std::int64_t k = begin; k < end; ++k) {
      all.push_back(k);
      if (regression.status[static_cast<std::size_t>(k)] == linex::Status::ok) live.push_back(k);
    }
    std::vector<linex::SparseFit> fits =
        linex::rank(regression, validation, begin, end, linear_, saga_.threads);
    if (!live.empty() && regression.concept_count() > 0) {
      linex::SagaOptions options = saga_;
      options.seed = context_.run().seed * 1000003 + static_cast<std::uint64_t>(begin);
      const auto progress = context_.progress("glm_saga", saga_.max_epochs, "epochs");
      const auto result = linex::solve_saga(x, targets(problem, regression, live), options, [&] {
        linex::check_cancelled(context_);
        progress->advance(1);
      });
      if (!result.stopped)
        context_.log().warning("glm_saga: units " + std::to_string(begin) + " to " +
                               std::to_string(end - 1) + " reached max_epochs=" +
                               std::to_string(saga_.max_epochs) + " before it stopped improving");
      totals.epochs = std::max(totals.epochs, result.epochs);
      for (std::size_t i = 0; i < live.size(); ++i) {
        linex::SparseFit& exact = fits[static_cast<std::size_t>(live[i] - begin)];
        linex::SparseFit fit = evaluated(regression, live[i], result, i, exact);
        totals.objective += fit.objective;
        totals.exact += exact.objective;
        ++totals.units;
        exact = std::move(fit);
      }
    }
    return linex::assemble(
        regression, problem.concepts, begin, fits,
        linex::search(regression, validation, all, fits, linear_.search, saga_.threads));
  }

  /// SAGA's solution of one unit with its objective, and its distance from a bound of the optimum.
  linex::SparseFit evaluated(linex::Regression& regression, std::int64_t k,
                             const linex::SagaResult& result, std::size_t i,
                             const linex::SparseFit& exact) const {
    linex::SparseFit fit;
    const std::int64_t concepts = regression.concept_count();
    const float* const w =
        result.weight.data_ptr<float>() + static_cast<std::int64_t>(i) * concepts;
    for (std::int64_t j = 0; j < concepts; ++j)
      if (w[j] != 0) {
        fit.index.push_back(j);
        fit.weight.push_back(static_cast<double>(w[j]));
      }
    regression.gram->require(fit.index);
    const linex::UnitMoments unit = regression.moments_of(k);
    const std::size_t at = static_cast<std::size_t>(k);
    // x is centred, so a wrong intercept adds half its square.
    const double offset =
        (regression.unit_mean[at] - regression.target_mean[at]) / regression.unit_std[at] -
        static_cast<double>(result.bias.data_ptr<float>()[i]);
    double square = unit.mean_square + offset * offset, l1 = 0, l2 = 0;
    for (std::size_t a = 0; a < fit.index.size(); ++a) {
      const float* const row = regression.gram->row(fit.index[a]);
      double qw = 0;
      for (std::size_t b = 0; b < fit.index.size(); ++b)
        qw += static_cast<double>(row[fit.index[b]]) * fit.weight[b];
      square += fit.weight[a] * (qw - 2 * unit.q[fit.index[a]]);
      l1 += std::abs(fit.weight[a]);
      l2 += fit.weight[a] * fit.weight[a];
    }
    fit.objective = 0.5 * square + saga_.l1 * l1 + 0.5 * saga_.l2 * l2;
    fit.gap = fit.objective - (exact.objective - exact.gap);
    fit.sweeps = result.epochs;
    fit.converged = true;  // by its own rule; how far off that is, the gap says
    return fit;
  }

  const linex::PluginContext& context_;
  linex::LinearOptions linear_;
  linex::RegressionOptions regression_;
  linex::SagaOptions saga_;
  std::int64_t unit_batch_ = 128;
};

}  // namespace

LINEX_SOLVER_PLUGIN(GlmSaga, "glm_saga", "0.1.0",
                    "Published Linear Explanations: stochastic elastic net, then greedy search")
