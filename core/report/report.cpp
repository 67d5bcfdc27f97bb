#include "core/report/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "core/report/page.hpp"
#include "core/report/unit_details.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

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
/// order. An interval is [low, high] or null.
ReportJson method_json(const ReportMethod& method, std::size_t at,
                       const std::vector<std::string>& scores) {
  const Explanation& explanation = method.explanations[at];
  ReportJson terms = ReportJson::array(), values = ReportJson::array(),
             intervals = ReportJson::array();
  for (const auto& term : explanation.terms)
    terms.push_back({term.concept_name, report_number(term.weight)});
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

}  // namespace

void write_report(const fs::path& folder, const Report& report, const ReportOptions& options,
                  const PluginContext& context) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure)
    throw input_error("cannot make the folder " + folder.string() + ": " + failure.message());
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

  const PageDetails details = collect_details(report, units, options, context);
  page["chunk"] = details.units.empty() ? 0 : kChunk;
  write_file_atomic(folder / "index.html",
                    filled(kReportHtml, {{"@@CSS@@", kReportCss},
                                         {"@@DATA@@", script_json(page)},
                                         {"@@JS@@", kReportJs},
                                         {"@@CARDS@@", card_scripts(details)}}));
}

}  // namespace linex
