#include "toolkit/math/linear_explanations.hpp"

#include "toolkit/base/text.hpp"

namespace linex {

namespace {

std::vector<UnitMoments> moments_of(const Regression& regression, std::int64_t begin,
                                    std::int64_t end) {
  std::vector<UnitMoments> units;
  for (std::int64_t k = begin; k < end; ++k) units.push_back(regression.moments_of(k));
  return units;
}

LinearModel penalised_model(const Regression& regression, std::int64_t k, const SparseFit& fit) {
  LinearModel model;
  model.unit = k;
  for (std::size_t i = 0; i < fit.index.size(); ++i) {
    model.terms.push_back(fit.index[i]);
    model.weight.push_back(regression.raw_weight(k, fit.index[i], fit.weight[i]));
  }
  return model;
}

/// Weights descending, and the intercept of least squares.
void set_terms(const Regression& regression, const std::vector<std::string>& names, std::int64_t k,
               const Selection& selection, Explanation& explanation) {
  std::vector<std::size_t> order(selection.terms.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return selection.weight[a] > selection.weight[b];
  });
  explanation.bias = regression.unit_mean[static_cast<std::size_t>(k)];
  for (const std::size_t i : order) {
    const std::size_t j = static_cast<std::size_t>(selection.terms[i]);
    explanation.terms.push_back(
        {names[static_cast<std::size_t>(regression.concepts[j])], selection.weight[i]});
    explanation.bias -= selection.weight[i] * regression.concept_mean[j];
  }
}

}  // namespace

void report_concepts(const Regression& regression, std::size_t concepts, double min_presence,
                     Logger& log, SolveReport& report) {
  report.figures["concepts_kept"] = static_cast<double>(regression.concept_count());
  report.figures["concepts_rare"] = static_cast<double>(regression.rare_concepts());
  if (regression.rare_concepts() > 0)
    log.info(std::to_string(regression.rare_concepts()) + " of " + std::to_string(concepts) +
             " concepts are left out: their five largest presences average below " +
             format_number(min_presence) + " (solver.min_presence)");
}

std::vector<SparseFit> rank(Regression& regression, const HeldOut& validation, std::int64_t begin,
                            std::int64_t end, const LinearOptions& options, int threads) {
  const std::vector<UnitMoments> units = moments_of(regression, begin, end);
  const auto fit_at = [&](double lambda, const std::vector<SparseFit>& warm) {
    ElasticNetOptions net = ElasticNetOptions::published(lambda, options.alpha);
    net.gap = options.gap;
    net.non_negative = options.search.non_negative;
    return fit_elastic_net(*regression.gram, units, net, threads, warm);
  };
  if (options.path <= 1) return fit_at(options.lambda, {});

  std::vector<SparseFit> best(units.size()), fits;
  std::vector<double> highest(units.size(), -1);
  const double step =
      std::pow(std::min(1.0, options.lambda), 1.0 / static_cast<double>(options.path - 1));
  double lambda = 1;
  for (std::int64_t s = 0; s < options.path; ++s, lambda *= step) {
    fits = fit_at(s + 1 == options.path ? options.lambda : lambda, fits);
    std::vector<LinearModel> models;
    for (std::size_t i = 0; i < fits.size(); ++i)
      models.push_back(penalised_model(regression, begin + static_cast<std::int64_t>(i), fits[i]));
    const std::vector<double> correlation = validation.correlation(models);
    for (std::size_t i = 0; i < fits.size(); ++i)
      if (s == 0 || correlation[i] > highest[i]) {
        highest[i] = std::max(highest[i], correlation[i]);
        best[i] = fits[i];
      }
  }
  return best;
}

std::vector<Explanation> assemble(const Regression& regression,
                                  const std::vector<std::string>& concept_names, std::int64_t begin,
                                  const std::vector<SparseFit>& fits,
                                  const std::vector<Selection>& selections) {
  std::vector<Explanation> explanations;
  for (std::size_t i = 0; i < fits.size(); ++i) {
    const std::int64_t k = begin + static_cast<std::int64_t>(i);
    Explanation explanation;
    explanation.unit = regression.units[static_cast<std::size_t>(k)];
    explanation.status = regression.status[static_cast<std::size_t>(k)];
    if (explanation.status == Status::ok) {
      set_terms(regression, concept_names, k, selections[i], explanation);
      explanation.val_correlation = selections[i].val_correlation;
      explanation.objective = fits[i].objective;
      explanation.duality_gap = fits[i].gap;
      explanation.iterations = fits[i].sweeps;
      if (explanation.terms.empty())
        explanation.status = Status::no_concept;
      else if (!fits[i].converged)
        explanation.status = Status::not_converged;
    }
    explanations.push_back(std::move(explanation));
  }
  return explanations;
}

std::vector<Explanation> explain(Regression& regression, const HeldOut& validation,
                                 const std::vector<std::string>& concept_names, std::int64_t begin,
                                 std::int64_t end, const LinearOptions& options, int threads,
                                 std::vector<Selection>* found) {
  const std::vector<SparseFit> fits = rank(regression, validation, begin, end, options, threads);
  std::vector<std::int64_t> units;
  for (std::int64_t k = begin; k < end; ++k) units.push_back(k);
  const auto selections = search(regression, validation, units, fits, options.search, threads);
  if (found) found->insert(found->end(), selections.begin(), selections.end());
  return assemble(regression, concept_names, begin, fits, selections);
}

NoiseFloor noise_floor(const Regression& regression, const LinearOptions& options,
                       std::int64_t units, std::uint64_t seed, int threads) {
  std::vector<std::int64_t> varying;
  for (std::int64_t k = 0; k < regression.unit_count(); ++k)
    if (regression.status[static_cast<std::size_t>(k)] == Status::ok) varying.push_back(k);
  const std::int64_t count = std::min(units, static_cast<std::int64_t>(varying.size()));
  NoiseFloor floor;
  floor.length = kNone;
  floor.val = floor.test = mean_sem({});
  floor.units = count;
  if (count == 0) return floor;
  std::vector<std::int64_t> of;
  for (std::int64_t i = 0; i < count; ++i)
    of.push_back(
        varying[static_cast<std::size_t>(i * static_cast<std::int64_t>(varying.size()) / count)]);
  const auto shuffled = regression.shuffled(of, seed);
  const HeldOut validation = shuffled->validation(),
                test = shuffled->held_out(shuffled->split().test);
  std::vector<std::int64_t> all;
  for (std::int64_t k = 0; k < count; ++k) all.push_back(k);
  const auto fits = rank(*shuffled, validation, 0, count, options, threads);
  const auto found = search(*shuffled, validation, all, fits, options.search, threads);
  std::vector<double> val, length;
  std::vector<LinearModel> models;
  for (std::int64_t k = 0; k < count; ++k) {
    const Selection& selection = found[static_cast<std::size_t>(k)];
    if (selection.terms.empty()) continue;
    val.push_back(selection.val_correlation);
    length.push_back(static_cast<double>(selection.terms.size()));
    models.push_back({k, selection.terms, selection.weight});
  }
  floor.val = mean_sem(val);
  floor.test = mean_sem(test.correlation(models));
  floor.length = mean_sem(length).mean;
  return floor;
}

}  // namespace linex
