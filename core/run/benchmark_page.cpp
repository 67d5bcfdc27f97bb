#include "core/run/benchmark_page.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "core/report/plots.hpp"

namespace linex {

namespace {

std::string format(const char* pattern, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, value);
  return buffer;
}

std::string number(double value, const char* pattern) {
  return std::isfinite(value) ? format(pattern, value) : "–";
}

/// A path as a relative address.
std::string address(const std::string& path) {
  std::string text;
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) ||
                       std::string("/._-~").find(c) != std::string::npos;
    char escape[4];
    std::snprintf(escape, sizeof escape, "%%%02X", static_cast<unsigned char>(c));
    text += plain ? std::string(1, c) : escape;
  }
  return text;
}

/// What the bars of one score span on every network, 0 included.
struct Range {
  double low = 0, high = 0;
  double share(double value) const { return (value - low) / (high - low); }
};

Range range_of(const BenchmarkTable& table, const std::string& score) {
  Range range;
  for (const auto& cell : table.cells) {
    if (cell.score != score || !std::isfinite(cell.mean.mean)) continue;
    const double error = std::isfinite(cell.mean.sem) ? cell.mean.sem : 0;
    range.low = std::min(range.low, cell.mean.mean - error);
    range.high = std::max(range.high, cell.mean.mean + error);
  }
  if (!(range.high > range.low)) range.high = range.low + 1;
  return range;
}

std::string bar(const MeanSem& mean, const Range& range) {
  if (!std::isfinite(mean.mean)) return "";
  const auto piece = [&](const char* kind, double from, double to) {
    char text[120];
    std::snprintf(text, sizeof text, "<i class=\"%s\" style=\"left:%.2f%%;width:%.2f%%\"></i>",
                  kind, 100 * range.share(from), 100 * (range.share(to) - range.share(from)));
    return std::string(text);
  };
  std::string html = piece("plus", std::min(0.0, mean.mean), std::max(0.0, mean.mean));
  if (std::isfinite(mean.sem)) html += piece("error", mean.mean - mean.sem, mean.mean + mean.sem);
  return html;
}

std::string network_figure(const BenchmarkTable& table, const std::string& network,
                           const std::string& score, const Range& range,
                           const std::map<std::string, std::string>& reports) {
  const BenchmarkCell* marked =
      table.best_stands_out(network, score) ? table.best(network, score) : nullptr;
  std::string html = "<figure class=\"chart\">\n<figcaption>" + escape_html(network);
  if (const auto found = reports.find(network); found != reports.end())
    html += "<a href=\"" + address(found->second) + "\">report</a>";
  html += "</figcaption>\n<dl class=\"terms bars\">\n";
  for (std::size_t m = 0; m < table.methods.size(); ++m) {
    const BenchmarkCell* cell = table.cell(table.methods[m], network, score);
    if (!cell) continue;
    const std::string name = escape_html(cell->method);
    html += "<dt>" + (cell == marked ? "<b>" + name + "</b>" : name) + "</dt><dd class=\"track\"" +
            " style=\"--tone:var(--m" + std::to_string(m % 8) +
            ");--zero:" + format("%.2f%%", 100 * range.share(0)) + "\">" + bar(cell->mean, range) +
            "</dd><dd class=\"number\">" + number(cell->mean.mean, "%.4f") + " ± " +
            number(cell->mean.sem, "%.4f") + "<small> n " + std::to_string(cell->mean.n) +
            (cell->dead > 0 ? ", dead " + std::to_string(cell->dead) : "") +
            (std::isfinite(cell->length) ? ", length " + format("%.2f", cell->length) : "") +
            "</small></dd>\n";
  }
  return html + "</dl></figure>\n";
}

std::string pair_table(const BenchmarkTable& table, const std::string& score) {
  std::string rows;
  for (const auto& network : table.networks)
    for (const auto& pair : table.against_best(network, score)) {
      rows += "<tr>";
      for (const auto& cell : {pair.first + " − " + pair.second, network,
                               number(pair.outcome.difference.mean, "%+.4f") + " ± " +
                                   number(pair.outcome.difference.sem, "%.4f"),
                               pair.outcome.outcome(), p_value_text(pair.holm_p),
                               std::to_string(pair.outcome.difference.n)})
        rows += "<td>" + escape_html(cell) + "</td>";
      rows += "</tr>\n";
    }
  if (rows.empty()) return "";
  return "<div class=\"wide\"><table class=\"numbers\"><thead><tr><th>best − other, unit by "
         "unit</th><th>network</th><th>difference ± SEM</th><th>wins : ties : losses</th>"
         "<th>p</th><th>n</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

}  // namespace

std::string benchmark_page(const BenchmarkTable& table,
                           const std::map<std::string, std::string>& reports) {
  std::string body;
  for (const auto& score : table.scores) {
    const Range range = range_of(table, score);
    body += "<section><h2>" + escape_html(score) + "</h2>\n<div class=\"charts\">\n";
    for (const auto& network : table.networks)
      if (table.best(network, score)) body += network_figure(table, network, score, range, reports);
    body += "</div>\n" + pair_table(table, score) + "</section>\n";
  }
  body += "<p class=\"facts\">" + escape_html(table_notes("bold")) + "</p>\n";
  const auto count = [](std::size_t n, const char* what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
  };
  return html_page(
      count(table.methods.size(), "method") + " on " + count(table.networks.size(), "network"),
      "benchmark", "", body);
}

}  // namespace linex
