// Simulation with ablation scoring (docs/methods.md §1.9), for any layer of any network: replace
// the unit by its simulated value, run the rest, and ask how much of the unit's effect on the loss
// is left, 1 being all of it.
#include <algorithm>

#include "linex/cluster.hpp"
#include "linex/plugin.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/intervention/ablation.hpp"
#include "toolkit/intervention/variant_runner.hpp"

namespace {

using linex::kNone;
using linex::Status;
namespace intervention = linex::intervention;
namespace option = linex::option;

/// How many of the values at which a unit's effect is tabulated find out where its fit goes.
std::int64_t scouts(std::int64_t nodes) { return std::max<std::int64_t>(3, nodes / 3); }

/// What the published score needs to know of one unit on the validation rows.
struct UnitFacts {
  double mean = 0, deviation = 0;  // of the actual pooled values; unbiased
  double correlation = kNone;      // Pearson of simulated and actual
};

class SimulationAblation final : public linex::Evaluator, public linex::SharesWork {
 public:
  static constexpr std::array kOptions{
      option::choice("mode", "both", "both|optim|norm",
                     "optim fits scale and offset on the validation loss, norm matches moments"),
      option::real("temperature", 1.1, 0.05, 20, "divides the logits before the loss"),
      option::flag("calibrate", false, "fit the temperature on the validation loss instead"),
      option::choice("fill", "shift", "shift|constant",
                     "a replaced map is the actual one shifted, or constant"),
      option::choice("head", "auto", "auto|general",
                     "auto updates the logits directly where the rest of the network is linear"),
      option::integer("nodes", 6, 2, 64,
                      "values at which optim tabulates a unit's effect on each image, where the "
                      "rest is not linear"),
      option::integer("steps", 100, 0, 100000, "Adam steps of optim"),
      option::real("learning_rate", 1e-2, 0, 10, "of these steps")};

  explicit SimulationAblation(const linex::PluginContext& context)
      : context_(context),
        optim_(context.options().text("mode") != "norm"),
        norm_(context.options().text("mode") != "optim"),
        temperature_(context.options().real("temperature")),
        fill_(context.options().text("fill") == "shift" ? linex::Fill::shift
                                                        : linex::Fill::constant),
        calibration_{static_cast<int>(context.options().integer("steps")),
                     context.options().real("learning_rate")} {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    if (!input.model || !input.data)
      throw linex::usage_error(
          "evaluator/simulation_ablation: recorded activations have no network to run; choose "
          "another model.plugin or leave this evaluator out");
    if (input.data->labels().empty())
      throw linex::input_error(
          "evaluator/simulation_ablation: the loss needs class labels, and the images have none");

    const auto head = context_.options().text("head") == "auto" && input.pool == linex::Pool::avg
                          ? input.model->linear_head(input.layer)
                          : linex::LinearHead{};
    const auto count = input.explanations.size();
    for (const char* name : {"sim ablation(optim)", "sim ablation(norm)"})
      columns_[name == std::string("sim ablation(norm)")] = {
          name, true, std::vector<double>(count, kNone), {}, {}, {}};
    // Ranks take units each where no network runs, and else images of all units.
    const auto* const cluster =
        head.weight.defined() ? linex::ability<linex::Cluster>(context_) : nullptr;
    const linex::Share share = linex::share_of(static_cast<std::int64_t>(count), 1, cluster);
    const auto block = units_a_block(input);
    for (std::int64_t begin = share.begin; begin < share.end; begin += block)
      score_block(input, head, static_cast<std::size_t>(begin),
                  static_cast<std::size_t>(std::min(share.end, begin + block)));
    for (auto& column : columns_) {
      column.value = linex::gather_shares<double>(
          cluster, {column.value.begin() + share.begin, column.value.begin() + share.end});
      column.status = linex::gather_shares(cluster, column.status);
    }

    std::vector<linex::ScoreColumn> wanted;
    if (optim_) wanted.push_back(std::move(columns_[0]));
    if (norm_) wanted.push_back(std::move(columns_[1]));
    return wanted;
  }

  const void* ability(const char* name) const override {
    return linex::offer<linex::SharesWork>(name, this);
  }

 private:
  /// Values kept for each unit: simulated and, where the rest is not linear, tabulated ones.
  std::int64_t units_a_block(const linex::EvaluationInput& input) const {
    const auto rows = static_cast<std::int64_t>(input.split.test.size() +
                                                input.split.val.size() *
                                                    (2 + context_.options().integer("nodes")));
    return std::max<std::int64_t>(
        1, context_.run().memory_bytes / 8 / 8 / std::max<std::int64_t>(rows, 1));
  }

  void score_block(const linex::EvaluationInput& input, const linex::LinearHead& head,
                   std::size_t begin, std::size_t end) {
    const std::vector<linex::Explanation> explanations(input.explanations.begin() + begin,
                                                       input.explanations.begin() + end);
    const linex::Simulation simulation(explanations, *input.simulator);
    auto status = simulation.status();
    std::vector<std::int64_t> units;
    for (std::size_t i = 0; i < explanations.size(); ++i) {
      const bool exists =
          explanations[i].unit >= 0 && explanations[i].unit < input.activations.size(1);
      if (!exists) status[i] = Status::unknown_unit;
      units.push_back(exists ? explanations[i].unit : 0);
    }
    const auto columns = torch::tensor(units, torch::kInt64);
    const auto part = [&](const linex::Rows& rows) {
      Part result;
      result.rows = rows;
      result.simulated =
          simulation.predict(rows, context_.run().threads, context_.run().memory_bytes)
              .t()
              .contiguous();
      result.actual = input.activations.index_select(0, torch::tensor(rows, torch::kInt64))
                          .index_select(1, columns)
                          .t()
                          .contiguous();
      result.labels = linex::labels_of(*input.data, rows);
      return result;
    };
    Part val = part(input.split.val), test = part(input.split.test);

    std::vector<UnitFacts> facts(units.size());
    const auto correlations = linex::pearson_columns(val.simulated.t(), val.actual.t());
    for (std::size_t i = 0; i < units.size(); ++i) {
      const auto values = val.actual[static_cast<std::int64_t>(i)].to(torch::kFloat64);
      facts[i] = {values.mean().item<double>(), values.std().item<double>(), correlations[i]};
    }

    std::vector<Scores> scores = head.weight.defined()
                                     ? score_linear(input, head, units, facts, status, val, test)
                                     : score_general(input, units, facts, status, val, test);
    for (std::size_t i = 0; i < units.size(); ++i)
      for (int mode = 0; mode < 2; ++mode) {
        const double value = mode == 0 ? scores[i].optim : scores[i].norm;
        auto& column = columns_[mode];
        column.value[begin + i] = status[i] == Status::ok ? value : kNone;
        Status why = status[i];
        if (why == Status::ok && !std::isfinite(value))
          why = scores[i].no_effect ? Status::dead : Status::constant;
        column.status.push_back(why);
      }
  }

  /// One part of the split; matrices are (explanations, rows), float32.
  struct Part {
    linex::Rows rows;
    torch::Tensor simulated, actual, labels;
  };
  struct Scores {
    double optim = kNone, norm = kNone;
    bool no_effect = false;
  };

  /// The last layer: logits change by (s − a)·w for a unit with head column w, so no image runs
  /// through the network at all.
  std::vector<Scores> score_linear(const linex::EvaluationInput& input,
                                   const linex::LinearHead& head,
                                   const std::vector<std::int64_t>& units,
                                   const std::vector<UnitFacts>& facts,
                                   const std::vector<Status>& status, const Part& val,
                                   const Part& test) const {
    const auto weight = head.weight.to(torch::kCPU), bias = head.bias.to(torch::kCPU);
    const auto logits = [&](const Part& part) {
      const auto ids = torch::tensor(part.rows, torch::kInt64);
      return torch::addmm(bias, input.activations.index_select(0, ids), weight.t());
    };
    check_classes(val.labels, test.labels, weight.size(0));
    const auto val_logits = logits(val), test_logits = logits(test);
    const double temperature = temperature_for(val_logits, val.labels);
    const auto val_loss = intervention::cross_entropy_rows(val_logits, val.labels, temperature);
    const auto test_loss = intervention::cross_entropy_rows(test_logits, test.labels, temperature);

    std::vector<Scores> scores(units.size());
    const auto progress =
        context_.progress("ablation", static_cast<std::int64_t>(units.size()), "units");
    linex::parallel_for(
        static_cast<std::int64_t>(units.size()), context_.run().threads, [&](std::int64_t i) {
          linex::check_cancelled(context_);
          progress->advance(1);
          if (status[static_cast<std::size_t>(i)] != Status::ok) return;
          const auto column = weight.select(1, units[static_cast<std::size_t>(i)]);
          intervention::LinearResponse on_val(val_logits, val.labels, val.actual[i], column,
                                              temperature);
          intervention::LinearResponse on_test(test_logits, test.labels, test.actual[i], column,
                                               temperature);
          const auto loss = [&](const torch::Tensor& values) { return on_test.loss(values); };
          const UnitFacts& fact = facts[static_cast<std::size_t>(i)];
          Scores& score = scores[static_cast<std::size_t>(i)];
          const auto averaged = loss(torch::full_like(test.actual[i], fact.mean));
          if (optim_) {
            const auto fit =
                intervention::calibrate(on_val, val.simulated[i], val_loss, calibration_);
            score.optim =
                intervention::ablation_score(loss(calibrated(test, i, fit)), averaged, test_loss);
          }
          const auto matched = norm_ ? normalised(test, i, fact) : torch::Tensor();
          if (matched.defined())
            score.norm = intervention::ablation_score(loss(matched), averaged, test_loss);
          score.no_effect = !((averaged - test_loss).abs().sum().item<double>() > 0);
        });
    return scores;
  }

  /// Any layer. Validation images: the loss at a few values of each unit, which is what the fit of
  /// optim needs; test images: the loss at the values to score.
  std::vector<Scores> score_general(const linex::EvaluationInput& input,
                                    const std::vector<std::int64_t>& units,
                                    const std::vector<UnitFacts>& facts,
                                    const std::vector<Status>& status, const Part& val,
                                    const Part& test) const {
    std::vector<std::int64_t> scored;  // positions in `units`
    for (std::size_t i = 0; i < units.size(); ++i)
      if (status[i] == Status::ok) scored.push_back(static_cast<std::int64_t>(i));
    std::vector<Scores> scores(units.size());
    if (scored.empty()) return scores;

    const std::int64_t nodes = context_.options().integer("nodes");
    const linex::VariantJob job{*input.model, input.data, input.layer, input.pool, fill_};
    double temperature = temperature_;
    if (context_.options().flag("calibrate"))
      temperature =
          intervention::fit_temperature(linex::plain_logits(job, val.rows, context_), val.labels);

    std::vector<intervention::Calibration> fits(units.size());
    if (optim_) {
      std::vector<Table> tables(scored.size());
      const std::int64_t first = std::min(nodes, scouts(nodes));
      fit_tabulated(job, units, scored, val, first, temperature, tables, fits);
      if (nodes - first >= 2)
        fit_tabulated(job, units, scored, val, nodes - first, temperature, tables, fits);
    }

    struct Place {
      std::int64_t averaged = -1, optim = -1, norm = -1;
    };
    std::vector<linex::Variant> variants;
    std::vector<Place> places;
    for (const auto i : scored) {
      const auto unit = units[static_cast<std::size_t>(i)];
      const UnitFacts& fact = facts[static_cast<std::size_t>(i)];
      const auto add = [&](const torch::Tensor& values) {
        variants.push_back({unit, values});
        return static_cast<std::int64_t>(variants.size()) - 1;
      };
      Place place;
      place.averaged = add(torch::full_like(test.actual[i], fact.mean));
      if (optim_) place.optim = add(calibrated(test, i, fits[static_cast<std::size_t>(i)]));
      const auto matched = norm_ ? normalised(test, i, fact) : torch::Tensor();
      if (matched.defined()) place.norm = add(matched);
      places.push_back(place);
    }
    const auto outcome =
        linex::run_variants("ablation: score", job, test.rows, variants, temperature, context_);
    const auto plain = intervention::loss_of(outcome.plain);
    for (std::size_t j = 0; j < scored.size(); ++j) {
      Scores& score = scores[static_cast<std::size_t>(scored[j])];
      const auto averaged = intervention::loss_of(outcome.variants[places[j].averaged]);
      const auto value = [&](std::int64_t place) {
        return place < 0 ? kNone
                         : intervention::ablation_score(
                               intervention::loss_of(outcome.variants[place]), averaged, plain);
      };
      score.optim = value(places[j].optim);
      score.norm = value(places[j].norm);
      score.no_effect = !((averaged - plain).abs().sum().item<double>() > 0);
    }
    return scores;
  }

  /// What a unit does to the validation images: values (count, n) float32 and the log odds there.
  struct Table {
    torch::Tensor values, log_odds;
  };

  /// Tabulates each scored unit at `nodes` more values, where `fits` went before or, the first
  /// time, may well go, and fits scale and offset anew.
  void fit_tabulated(const linex::VariantJob& job, const std::vector<std::int64_t>& units,
                     const std::vector<std::int64_t>& scored, const Part& val, std::int64_t nodes,
                     double temperature, std::vector<Table>& tables,
                     std::vector<intervention::Calibration>& fits) const {
    std::vector<linex::Variant> variants;
    const auto at = intervention::TabulatedResponse::nodes(-1, 1, nodes);
    for (const auto i : scored) {
      const auto [low, high] = value_ranges(val.simulated[i], fits[static_cast<std::size_t>(i)]);
      for (const double x : at)
        variants.push_back(
            {units[static_cast<std::size_t>(i)], (low + high) * 0.5 + (high - low) * (0.5 * x)});
    }
    const auto outcome =
        linex::run_variants("ablation: fit", job, val.rows, variants, temperature, context_);
    const auto plain = intervention::loss_of(outcome.plain);
    for (std::size_t j = 0; j < scored.size(); ++j) {
      const auto first = static_cast<std::int64_t>(j) * nodes;
      Table& table = tables[j];
      std::vector<torch::Tensor> values, log_odds{outcome.variants.narrow(0, first, nodes)};
      for (std::int64_t v = first; v < first + nodes; ++v)
        values.push_back(variants[static_cast<std::size_t>(v)].values.unsqueeze(0));
      if (table.values.defined()) {
        values.push_back(table.values);
        log_odds.push_back(table.log_odds);
      } else if (fill_ == linex::Fill::shift) {
        // The unchanged image is one more point, for nothing; and where the loss's change turns
        // its sign.
        values.push_back(val.actual[scored[j]].unsqueeze(0));
        log_odds.push_back(outcome.plain.unsqueeze(0));
      }
      table = {torch::cat(values), torch::cat(log_odds)};
      intervention::TabulatedResponse response(table.values, table.log_odds);
      fits[static_cast<std::size_t>(scored[j])] =
          intervention::calibrate(response, val.simulated[scored[j]], plain, calibration_);
    }
  }

  /// Ends of the values to tabulate on each row: float32 (n) each.
  std::pair<torch::Tensor, torch::Tensor> value_ranges(
      const torch::Tensor& simulated, const intervention::Calibration& before) const {
    auto low = torch::empty_like(simulated), high = torch::empty_like(simulated);
    for (std::int64_t i = 0; i < simulated.size(0); ++i) {
      const double s = simulated.data_ptr<float>()[i];
      const auto range = before.path.empty() ? intervention::likely_range(s, calibration_)
                                             : intervention::visited_range(s, before);
      const double margin = 0.25 * (range.high - range.low) + 1e-3;
      low.data_ptr<float>()[i] = static_cast<float>(range.low - margin);
      high.data_ptr<float>()[i] = static_cast<float>(range.high + margin);
    }
    return {low, high};
  }

  static torch::Tensor calibrated(const Part& part, std::int64_t i,
                                  const intervention::Calibration& fit) {
    return part.simulated[i] * fit.scale + fit.offset;
  }
  static torch::Tensor normalised(const Part& part, std::int64_t i, const UnitFacts& fact) {
    if (!std::isfinite(fact.correlation)) return {};
    return intervention::normalise_simulation(part.simulated[i], fact.mean, fact.deviation,
                                              fact.correlation);
  }

  double temperature_for(const torch::Tensor& logits, const torch::Tensor& labels) const {
    return context_.options().flag("calibrate") ? intervention::fit_temperature(logits, labels)
                                                : temperature_;
  }

  static void check_classes(const torch::Tensor& val, const torch::Tensor& test,
                            std::int64_t classes) {
    linex::check_labels(val, classes);
    linex::check_labels(test, classes);
  }

  const linex::PluginContext& context_;
  const bool optim_, norm_;
  const double temperature_;
  const linex::Fill fill_;
  const intervention::CalibrationOptions calibration_;
  linex::ScoreColumn columns_[2];  // optim, norm
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(SimulationAblation, "simulation_ablation", "0.1.0",
                       "share of a unit's effect on the loss that its simulation preserves")
