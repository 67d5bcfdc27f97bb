#include "core/run/outcome.hpp"

#include <cmath>
#include <cstdio>
#include <map>

#include "core/run/run_stages.hpp"
#include "toolkit/explanations/concept_texts.hpp"
#include "toolkit/explanations/in_words.hpp"

namespace linex {

namespace {

using Places = std::vector<std::size_t>;

std::string counts(const RunSummary& summary, const Places& places) {
  std::map<Status, int> count;
  for (const std::size_t i : places) ++count[summary.explanations[i].status];
  std::string text;
  for (const auto& [status, units] : count)
    if (status != Status::ok) text += ", " + std::to_string(units) + " " + to_string(status);
  return text;
}

/// "0.7333 ± 0.0097  (n = 64)"; no number where there is none.
std::string in_text(const MeanSem& mean) {
  if (mean.n == 0) return "–  (n = 0)";
  char text[96];
  if (mean.n == 1)
    std::snprintf(text, sizeof text, "%.4f  (n = 1)", mean.mean);
  else
    std::snprintf(text, sizeof text, "%.4f ± %.4f  (n = %lld)", mean.mean, mean.sem,
                  static_cast<long long>(mean.n));
  return text;
}

template <class... Values>
std::string format(const char* form, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, form, values...);
  return text;
}

const ScoreColumn* find_score(const RunSummary& summary, const char* name) {
  for (const auto& score : summary.scores)
    if (score.name == name) return &score;
  return nullptr;
}

/// "  0.73 of 0.75": mean correlation and mean ceiling of the units that have both.
std::string of_ceiling(const RunSummary& summary, const Places& places) {
  const ScoreColumn *reached = find_score(summary, "sim correlation"),
                    *ceiling = find_score(summary, "sim ceiling");
  if (!reached || !ceiling) return "";
  std::vector<double> values, limits;
  for (const std::size_t i : places) {
    if (!std::isfinite(reached->value[i]) || !std::isfinite(ceiling->value[i])) continue;
    values.push_back(reached->value[i]);
    limits.push_back(ceiling->value[i]);
  }
  if (values.empty()) return "";
  return format("  %.2f of %.2f", mean_sem(values).mean, mean_sem(limits).mean);
}

/// "length                   2.7656 ± 0.1500  (n = 64)": concepts in an explanation.
std::string length_text(const RunSummary& summary, const Places& places) {
  std::vector<double> lengths;
  for (const std::size_t i : places)
    if (!summary.explanations[i].terms.empty())
      lengths.push_back(static_cast<double>(concept_count(summary.explanations[i])));
  return lengths.empty() ? "" : format("%-24s ", "length") + in_text(mean_sem(lengths)) + "\n";
}

/// What the solver says about how far to trust the means: what is told, and its words.
std::vector<std::pair<std::string, std::string>> trust(const RunSummary& summary,
                                                       const std::string& layer) {
  const auto figures = summary.layer_figures.find(layer);
  if (figures == summary.layer_figures.end()) return {};
  const auto figure = [&](const char* name) {
    const auto found = figures->second.find(name);
    return found == figures->second.end() ? kNone : found->second;
  };
  std::vector<std::pair<std::string, std::string>> lines;
  if (const double share = figure("exact/share certified"); std::isfinite(share))
    lines.emplace_back("certified best",
                       format("%.1f %%  (mean gap of the others %.4f)", 100 * share,
                              share < 1 ? figure("exact/mean gap") / (1 - share) : 0.0));
  if (const double jaccard = figure("mean_stability"); std::isfinite(jaccard))
    lines.emplace_back("stability", format("%.4f  (Jaccard index of resamples)", jaccard));
  if (const double floor = figure("noise floor/sim correlation"); std::isfinite(floor))
    lines.emplace_back("noise floor",
                       format("%.4f ± %.4f  (n = %.0f of %.0f shuffled units)", floor,
                              figure("noise floor/sem sim correlation"),
                              figure("noise floor/explained"), figure("noise floor/units")));
  return lines;
}

}  // namespace

std::vector<std::string> trust_facts(const RunSummary& summary) {
  std::vector<std::string> facts;
  for (const auto& [layer, figures] : summary.layer_figures)
    for (const auto& [name, words] : trust(summary, layer))
      facts.push_back((summary.layer_figures.size() > 1 ? layer + ": " : "") + name + " " + words);
  return facts;
}

std::string unit_text(const RunSummary& summary, std::size_t place) {
  const Explanation& explanation = summary.explanations[place];
  const bool several = by_layer(summary).size() > 1;
  return "  " + (several ? summary.layers[place] + " " : "") +
         format("unit %-5lld %.3f  ", static_cast<long long>(explanation.unit),
                summary.test_correlation[place]) +
         in_words(explanation) + "\n";
}

std::string outcome_text(const RunSummary& summary) {
  const auto layers = by_layer(summary);
  std::string text = layers.empty() ? "0 units\n" : "";
  std::int64_t scored = 0;
  for (const auto& [layer, places] : layers) {
    text += (layers.size() > 1 ? layer + ": " : "") + std::to_string(places.size()) + " units" +
            counts(summary, places) + "\n";
    for (const auto& score : summary.scores) {
      std::vector<double> values;
      for (const std::size_t i : places) values.push_back(score.value[i]);
      const MeanSem mean = mean_sem(values);
      scored += mean.n;
      text += format("%-24s ", score.name.c_str()) + in_text(mean) +
              (score.name == "sim correlation" ? of_ceiling(summary, places) : "") + "\n";
    }
    text += length_text(summary, places);
    for (const auto& [name, words] : trust(summary, layer))
      text += format("%-24s ", name.c_str()) + words + "\n";
  }
  const auto order = best_explained(summary, 5);
  if (!order.empty()) text += "best explained:\n";
  for (const auto i : order) text += unit_text(summary, i);
  if (scored == 0 && !summary.scores.empty())
    text += "no unit has a score: " +
            (summary.complaint.empty()
                 ? "the counts above and the column status of explanations.csv say why"
                 : summary.complaint) +
            "\n";
  return text + "written to " + summary.out.string() + "\n";
}

}  // namespace linex
