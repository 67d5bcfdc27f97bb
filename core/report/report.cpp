#include "core/report/report.hpp"

#include <cmath>
#include <cstdio>

#include "core/base/files.hpp"
#include "linex/error.hpp"

namespace linex {

namespace {

std::string html(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string decimals(double value, const char* format) {
  if (!std::isfinite(value)) return "–";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>linex report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
</style></head><body>
)";

}  // namespace

std::string in_words(const Explanation& explanation) {
  if (!explanation.text.empty()) return explanation.text;
  if (explanation.terms.empty()) return "";
  std::string text;
  for (const auto& term : explanation.terms) {
    if (text.empty())
      text = term.weight < 0 ? "-" : "";
    else
      text += term.weight < 0 ? " - " : " + ";
    text += decimals(std::fabs(term.weight), "%.2f") + "·" + term.concept_name;
  }
  return text + (explanation.bias < 0 ? " - " : " + ") +
         decimals(std::fabs(explanation.bias), "%.2f");
}

void write_report(const std::filesystem::path& folder, const ExplanationFile& file,
                  const RunSummary& summary) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure)
    throw input_error("cannot make the folder " + folder.string() + ": " + failure.message());
  std::string page = kHead;
  page += "<h1>Explanations of " + std::to_string(file.explanations.size()) + " units</h1>\n<ul>";
  for (const auto& score : file.scores) {
    const MeanSem mean = mean_sem(score.value);
    page += "<li>" + html(score.name) + ": " + decimals(mean.mean, "%.4f") + " ± " +
            decimals(mean.sem, "%.4f") + " (n = " + std::to_string(mean.n) + ")</li>";
  }
  page += "</ul>\n";
  for (const auto& warning : summary.warnings) page += "<p>Warning: " + html(warning) + "</p>\n";
  page +=
      "<table><thead><tr><th>layer</th><th>unit</th><th>explanation</th><th>val correlation</th>";
  for (const auto& score : file.scores) page += "<th>" + html(score.name) + "</th>";
  page += "<th>status</th></tr></thead><tbody>\n";
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const Explanation& explanation = file.explanations[i];
    page += "<tr><td>" + html(file.layers[i]) + "</td><td class=number>" +
            std::to_string(explanation.unit) + "</td><td>" + html(in_words(explanation)) +
            "</td><td class=number>" + decimals(explanation.val_correlation, "%.3f") + "</td>";
    for (const auto& score : file.scores)
      page += "<td class=number>" + decimals(score.value[i], "%.3f") + "</td>";
    page += std::string("<td>") + to_string(explanation.status) + "</td></tr>\n";
  }
  page += "</tbody></table></body></html>\n";
  write_file_atomic(folder / "index.html", page);
}

}  // namespace linex
