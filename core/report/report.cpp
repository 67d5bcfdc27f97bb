#include "core/report/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "core/report/comparison.hpp"
#include "core/report/page.hpp"
#include "core/report/unit_details.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/embedding_ability.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

/// Units in one script element: what a browser parses when a card is shown.
constexpr std::size_t kChunk = 16;

/// JSON that may stand inside a script element.
std::string script_json(const ReportJson& json) {
  std::string text = json.dump(-1, ' ', false, ReportJson::error_handler_t::replace);
  for (std::size_t at = 0; (at = text.find('<', at)) != std::string::npos; at += 6)
    text.replace(at, 1, "\\u003c");
  return text;
}

/// All names of score columns, in order of appearance.
std::vector<std::string> score_names(const Report& report) {
  std::vector<std::string> names;
  for (const auto& layer : report.layers)
    for (const auto& method : layer.methods)
      for (const auto& score : method.scores)
        if (std::find(names.begin(), names.end(), score.name) == names.end())
          names.push_back(score.name);
  return names;
}

/// [terms, bias, text, status, validation correlation, scores, intervals]; the page knows this
/// order. A term is [concept, weight] and, where it is known, how often it comes back. An interval
/// is [low, high] or null.
ReportJson method_json(const ReportMethod& method, std::size_t at,
                       const std::vector<std::string>& scores) {
  const Explanation& explanation = method.explanations[at];
  ReportJson terms = ReportJson::array(), values = ReportJson::array(),
             intervals = ReportJson::array();
  for (const auto& term : explanation.terms) {
    terms.push_back({term.concept_name, report_number(term.weight)});
    const auto found = method.frequency.find({explanation.unit, term.concept_name});
    if (found != method.frequency.end()) terms.back().push_back(report_number(found->second));
  }
  for (const auto& name : scores) {
    double value = kNone;
    ReportJson interval;
    for (const auto& score : method.scores) {
      if (score.name != name) continue;
      value = score.value[at];
      if (at < score.low.size() && at < score.high.size() && std::isfinite(score.low[at]))
        interval = {report_number(score.low[at]), report_number(score.high[at])};
    }
    values.push_back(report_number(value));
    intervals.push_back(interval);
  }
  return ReportJson::array({terms, report_number(explanation.bias), explanation.text,
                            to_string(explanation.status),
                            report_number(explanation.val_correlation), values, intervals});
}

const ScoreColumn* find_score(const ReportMethod& method, const std::string& name) {
  for (const auto& score : method.scores)
    if (score.name == name) return &score;
  return nullptr;
}

/// [layer][method][score] = [mean, SEM, n].
ReportJson means_json(const Report& report, const std::vector<std::string>& scores) {
  ReportJson means = ReportJson::array();
  for (const auto& layer : report.layers) {
    ReportJson of_layer = ReportJson::array();
    for (const auto& method : layer.methods) {
      ReportJson of_method = ReportJson::array();
      for (const auto& name : scores) {
        const ScoreColumn* score = find_score(method, name);
        const MeanSem mean = mean_sem(score ? score->value : std::vector<double>{});
        of_method.push_back({report_number(mean.mean), report_number(mean.sem), mean.n});
      }
      of_layer.push_back(std::move(of_method));
    }
    means.push_back(std::move(of_layer));
  }
  return means;
}

/// The method with the best first score over the layers: it speaks for a unit where there is room
/// for one only. Ties go to the first.
std::size_t lead_method(const Report& report, const std::vector<std::string>& scores) {
  std::size_t lead = 0;
  double best = kNone;
  for (std::size_t m = 0; m < report.methods.size() && !scores.empty(); ++m) {
    std::vector<double> means;
    bool higher = true;
    for (const auto& layer : report.layers)
      if (const ScoreColumn* score = find_score(layer.methods[m], scores.front())) {
        means.push_back(mean_sem(score->value).mean);
        higher = score->higher_is_better;
      }
    const double mean = higher ? mean_sem(means).mean : -mean_sem(means).mean;
    if (std::isnan(best) ? std::isfinite(mean) : mean > best) {
      best = mean;
      lead = m;
    }
  }
  return lead;
}

/// The best method of each layer in the first score as {method, stands_out}, null without one. It
/// stands out where it is ahead of every other one beyond the error of their paired difference.
ReportJson best_json(const Report& report, const std::vector<std::string>& scores) {
  ReportJson json = ReportJson::array();
  for (const auto& layer : report.layers) {
    std::size_t best = layer.methods.size();
    double best_gain = kNone;
    bool stands_out = layer.methods.size() > 1;
    for (std::size_t m = 0; m < layer.methods.size() && !scores.empty(); ++m) {
      const ScoreColumn* score = find_score(layer.methods[m], scores.front());
      if (!score) continue;
      const double mean = mean_sem(score->value).mean,
                   gain = score->higher_is_better ? mean : -mean;
      if (std::isnan(best_gain) ? !std::isnan(gain) : gain > best_gain) {
        best = m;
        best_gain = gain;
      }
    }
    if (best == layer.methods.size()) {
      json.push_back(ReportJson());
      continue;
    }
    const ScoreColumn* leading = find_score(layer.methods[best], scores.front());
    for (std::size_t m = 0; m < layer.methods.size(); ++m)
      if (const ScoreColumn* other = find_score(layer.methods[m], scores.front());
          other && m != best)
        stands_out = stands_out && compare_methods(layer.methods[best].explanations, *leading,
                                                   layer.methods[m].explanations, *other)
                                       .first_ahead(leading->higher_is_better);
    json.push_back({{"method", best}, {"stands_out", stands_out}});
  }
  return json;
}

/// Every two methods of a layer in the first score, as {layer, first, second, wins, ties, losses,
/// difference, sem, n, p}; p by Holm's correction over the layer's pairs.
ReportJson pairs_json(const Report& report, const std::vector<std::string>& scores) {
  ReportJson json = ReportJson::array();
  for (std::size_t l = 0; l < report.layers.size() && !scores.empty(); ++l) {
    const auto& methods = report.layers[l].methods;
    std::vector<ReportJson> family;
    std::vector<double> p;
    for (std::size_t a = 0; a < methods.size(); ++a)
      for (std::size_t b = a + 1; b < methods.size(); ++b) {
        const ScoreColumn *first = find_score(methods[a], scores.front()),
                          *second = find_score(methods[b], scores.front());
        if (!first || !second) continue;
        const Comparison found =
            compare_methods(methods[a].explanations, *first, methods[b].explanations, *second);
        family.push_back({{"layer", l},
                          {"first", a},
                          {"second", b},
                          {"wins", found.wins},
                          {"ties", found.ties},
                          {"losses", found.losses},
                          {"difference", report_number(found.difference.mean)},
                          {"sem", report_number(found.difference.sem)},
                          {"n", found.difference.n}});
        p.push_back(found.p);
      }
    const auto corrected = holm(p);
    for (std::size_t i = 0; i < family.size(); ++i) {
      family[i]["p"] = report_number(corrected[i]);
      json.push_back(std::move(family[i]));
    }
  }
  return json;
}

/// Elements that a browser keeps as text until a card asks for one.
std::string card_scripts(const PageDetails& details) {
  std::string text;
  for (std::size_t begin = 0; begin < details.units.size(); begin += kChunk) {
    const std::size_t end = std::min(details.units.size(), begin + kChunk);
    ReportJson chunk = ReportJson::array();
    for (std::size_t i = begin; i < end; ++i) chunk.push_back(details.units[i]);
    text += "<script type=\"application/json\" id=\"units-" + std::to_string(begin / kChunk) +
            "\">" + script_json(chunk) + "</script>\n";
  }
  for (const auto& thumbnail : details.thumbnails)
    text += "<script type=\"text/plain\" id=\"image-" + std::to_string(thumbnail.row) + "\">" +
            base64(thumbnail.jpeg) + "</script>\n";
  return text;
}

/// `page` with each mark replaced once; what replaces one may contain another mark.
std::string filled(std::string_view page,
                   const std::vector<std::pair<std::string_view, std::string>>& parts) {
  std::string text;
  for (const auto& [mark, part] : parts) {
    const auto at = page.find(mark);
    text.append(page.substr(0, at)).append(part);
    page.remove_prefix(at + mark.size());
  }
  return text.append(page);
}

/// None where it was given no list, as one that only scores texts.
std::vector<std::string> list_of(const ConceptLabeler& labeler) {
  try {
    return labeler.concepts();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage) throw;
    return {};
  }
}

/// For the page's search, offline: {concept of the run's list that explains no unit: [[concept that
/// does, likeness], …]}, the most alike first. Empty where no simulator embeds texts.
ReportJson near_json(const Report& report) {
  constexpr std::int64_t kAtMost = 5;
  constexpr double kLeast = 0.2;
  ReportJson near = ReportJson::object();
  ConceptLabeler* simulator = nullptr;
  std::vector<std::string> explaining;
  std::set<std::string> known;
  for (const auto& layer : report.layers)
    for (const auto& method : layer.methods) {
      if (!simulator && method.simulator && ability<ImageTextEmbeddings>(*method.simulator))
        simulator = method.simulator;
      for (const auto& explanation : method.explanations)
        for (const auto& term : explanation.terms)
          if (term.weight > 0 && known.insert(term.concept_name).second)
            explaining.push_back(term.concept_name);
    }
  if (!simulator) return near;
  explaining.erase(std::remove_if(explaining.begin(), explaining.end(),
                                  [&](const auto& name) { return !simulator->knows(name); }),
                   explaining.end());
  std::vector<std::string> others;
  for (const auto& name : list_of(*simulator))
    if (!known.count(name)) others.push_back(name);
  if (explaining.empty() || others.empty()) return near;
  const auto* embeddings = ability<ImageTextEmbeddings>(*simulator);
  const auto asked = embeddings->text_embeddings(others),
             known_ones = embeddings->text_embeddings(explaining);
  for (std::size_t i = 0; i < others.size(); ++i) {
    const auto likeness = text_likeness(asked[static_cast<std::int64_t>(i)], known_ones);
    const auto [value, at] = likeness.topk(std::min<std::int64_t>(kAtMost, likeness.numel()));
    ReportJson alike = ReportJson::array();
    for (std::int64_t k = 0; k < value.numel() && value[k].item<double>() >= kLeast; ++k)
      alike.push_back({explaining[static_cast<std::size_t>(at[k].item<std::int64_t>())],
                       std::round(1000 * value[k].item<double>()) / 1000});
    if (!alike.empty()) near[others[i]] = std::move(alike);
  }
  return near;
}

}  // namespace

void write_report(const fs::path& folder, const Report& report, const ReportOptions& options,
                  const PluginContext& context) {
  make_own_folder(folder);
  const auto scores = score_names(report);
  ReportJson page;
  page["title"] = report.title;
  page["facts"] = report.facts;
  page["methods"] = report.methods;
  page["scores"] = scores;
  page["layers"] = ReportJson::array();
  page["classes"] = report.data ? report.data->class_names() : std::vector<std::string>{};
  page["warnings"] = report.warnings;
  page["options"] = report.options;
  const std::size_t lead = lead_method(report, scores);
  page["lead"] = lead;
  page["means"] = means_json(report, scores);
  page["best"] = best_json(report, scores);
  page["pairs"] = pairs_json(report, scores);
  page["sanity"] = ReportJson::array();
  for (const auto& [layer, by_score] : report.sanity)
    for (const auto& [score, shares] : by_score) {
      ReportJson row{{"layer", layer}, {"score", score}};
      for (const auto& [name, value] : shares) row[name] = report_number(value);
      page["sanity"].push_back(std::move(row));
    }

  std::vector<ReportUnit> units;
  ReportJson rows = ReportJson::array();
  for (std::size_t l = 0; l < report.layers.size(); ++l) {
    const ReportLayer& layer = report.layers[l];
    page["layers"].push_back({{"name", layer.name}});
    for (const auto& unit : units_of(layer, l)) {
      ReportJson methods = ReportJson::array();
      for (std::size_t m = 0; m < layer.methods.size(); ++m)
        methods.push_back(
            unit.at[m] < 0
                ? ReportJson()
                : method_json(layer.methods[m], static_cast<std::size_t>(unit.at[m]), scores));
      rows.push_back(ReportJson::array({l, unit.unit, methods}));
      units.push_back(unit);
    }
  }
  page["units"] = std::move(rows);
  page["near"] = near_json(report);

  const PageDetails details = collect_details(report, units, lead, options, context);
  page["chunk"] = details.units.empty() ? 0 : kChunk;
  write_file_atomic(folder / "index.html",
                    filled(kReportHtml, {{"@@CSS@@", kReportCss},
                                         {"@@THEME@@", kThemeHtml},
                                         {"@@DATA@@", script_json(page)},
                                         {"@@JS@@", std::string(kValuesJs) + kThemeJs + kReportJs},
                                         {"@@CARDS@@", card_scripts(details)}}));
}

}  // namespace linex
