#include "shortened.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "toolkit/explanations/concept_texts.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/regression.hpp"

namespace linex {

namespace {

using Terms = std::vector<std::int64_t>;

/// Explanations that can be shortened: their units and, for each, its concepts as columns of
/// presence of `texts`.
struct Usable {
  std::vector<std::string> texts;
  std::vector<std::int64_t> units;
  std::vector<Terms> columns;
};

Usable usable(const EvaluationInput& input) {
  Usable found;
  ConceptTexts meaning(*input.simulator);
  std::unordered_map<std::string, std::int64_t> column_of;
  for (const Explanation& explanation : input.explanations) {
    const bool solved =
        explanation.status == Status::ok || explanation.status == Status::not_converged;
    const bool exists = explanation.unit >= 0 && explanation.unit < input.activations.size(1);
    if (!solved || !exists || explanation.terms.empty()) continue;
    if (!std::all_of(explanation.terms.begin(), explanation.terms.end(),
                     [&](const Term& term) { return meaning.knows(term.concept_name); }))
      continue;
    Terms columns;
    for (const Term& term : explanation.terms) {
      const auto [place, fresh] =
          column_of.emplace(term.concept_name, static_cast<std::int64_t>(found.texts.size()));
      if (fresh) found.texts.push_back(term.concept_name);
      if (std::find(columns.begin(), columns.end(), place->second) == columns.end())
        columns.push_back(place->second);
    }
    found.units.push_back(explanation.unit);
    found.columns.push_back(std::move(columns));
  }
  return found;
}

/// `terms` without the one that is missed least; all of them independent.
Terms without_least(const Gram& gram, const double* q, const Terms& terms) {
  Terms best;
  double most = -std::numeric_limits<double>::infinity();
  for (std::size_t t = 0; t < terms.size(); ++t) {
    Terms rest = terms;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(t));
    const double explained = least_squares(gram, q, rest).explained;
    if (explained <= most) continue;
    most = explained;
    best = std::move(rest);
  }
  return best;
}

}  // namespace

std::vector<Shortened> shorten(const EvaluationInput& input, const MomentOptions& options) {
  const Usable given = usable(input);
  if (given.units.empty()) return {};
  const auto presence = ConceptTexts(*input.simulator).presence_of(given.texts);
  RegressionOptions how;
  how.min_presence = -std::numeric_limits<double>::infinity();
  how.moments = options;
  Regression regression({*presence, input.activations, given.units, input.split}, how);
  std::vector<std::int64_t> position(given.texts.size(), -1);
  for (std::int64_t j = 0; j < regression.concept_count(); ++j)
    position[static_cast<std::size_t>(regression.concepts[static_cast<std::size_t>(j)])] = j;
  regression.gram->require(all_columns(regression.concept_count()));

  std::vector<std::vector<LinearModel>> by_length;  // of each explanation, 1 concept first
  std::size_t longest = 0;
  for (std::size_t i = 0; i < given.units.size(); ++i) {
    Terms terms;
    for (const std::int64_t column : given.columns[i])
      terms.push_back(position[static_cast<std::size_t>(column)]);
    const std::int64_t unit = static_cast<std::int64_t>(i);
    if (regression.status[i] != Status::ok ||
        std::find(terms.begin(), terms.end(), -1) != terms.end())
      continue;
    const double* const q = regression.moments_of(unit).q;
    std::vector<LinearModel> models;
    while (!terms.empty()) {
      const TermFit fit = least_squares(*regression.gram, q, terms);
      if (fit.weight.empty()) {  // dependent: the last one says nothing new
        terms.pop_back();
        continue;
      }
      LinearModel model{unit, terms, {}};
      for (std::size_t t = 0; t < terms.size(); ++t)
        model.weight.push_back(regression.raw_weight(unit, terms[t], fit.weight[t]));
      models.insert(models.begin(), std::move(model));
      terms = without_least(*regression.gram, q, terms);
    }
    longest = std::max(longest, models.size());
    by_length.push_back(std::move(models));
  }

  const HeldOut test = regression.held_out(input.split.test);
  std::vector<Shortened> points;
  for (std::size_t most = 1; most <= longest; ++most) {
    std::vector<LinearModel> models;
    double terms = 0;
    for (const auto& lengths : by_length) {
      models.push_back(lengths[std::min(most, lengths.size()) - 1]);
      for (const std::int64_t j : models.back().terms)
        terms += static_cast<double>(formula_length(given.texts[static_cast<std::size_t>(
            regression.concepts[static_cast<std::size_t>(j)])]));
    }
    points.push_back({static_cast<std::int64_t>(most), terms / static_cast<double>(models.size()),
                      mean_sem(test.correlation(models))});
  }
  return points;
}

}  // namespace linex
