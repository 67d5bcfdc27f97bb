#include "core/report/plots.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/report/page.hpp"

namespace linex {

namespace {

/// Colours of files that stand alone; on a page the classes p0…, l0…, paper and axis follow its
/// theme.
constexpr const char* kColours[] = {"#2a5bd7", "#c2600a", "#0b7f63", "#a02c82",
                                    "#6b5bd6", "#7b6a00", "#00788f", "#a8323e"};

std::string area(std::size_t index) {
  const std::size_t c = index % std::size(kColours);
  return "class=\"p" + std::to_string(c) + "\" fill=\"" + kColours[c] + "\"";
}
const char* const kOtherArea = "class=\"rest\" fill=\"#d9dde5\"";
std::string line_of(std::size_t index) {
  const std::size_t c = index % std::size(kColours);
  return "class=\"l" + std::to_string(c) + "\" stroke=\"" + kColours[c] + "\"";
}

std::string format(const char* pattern, double a, double b = 0, double c = 0, double d = 0) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, pattern, a, b, c, d);
  return buffer;
}

std::string text_at(double x, double y, const std::string& text, const char* more = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + more + ">" + escape_html(text) +
         "</text>\n";
}

/// An image of its own with title and legend, or a small one for a card.
struct Canvas {
  double width = 640, height = 400, left = 64, right = 24, top = 44, bottom = 52;

  double up(double share) const { return height - bottom - share * (height - top - bottom); }
  double across(double share) const { return left + share * (width - left - right); }

  std::string opening(const std::string& title) const {
    return format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
               "font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#3b4252\">\n",
               width, height) +
           "<title>" + escape_html(title) + "</title>\n";
  }
  std::string heading(const std::string& title) const {
    return "<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" +
           text_at(left, 24, title, "font-size=\"15\" font-weight=\"600\"");
  }
  /// Horizontal lines at quarters, and what the axes mean.
  std::string grid(const std::string& x_label, const std::string& y_label) const {
    std::string svg, lines;
    for (int quarter = 0; quarter <= 4; ++quarter) {
      const double y = up(quarter / 4.0);
      lines += format("M%.1f,%.1fH%.1f", left, y, width - right);
      svg += text_at(left - 6, y + 4, std::to_string(25 * quarter) + " %", "text-anchor=\"end\"");
    }
    svg = "<path class=\"axis\" stroke=\"#d9dde5\" d=\"" + lines + "\"/>\n" + svg;
    svg += text_at(across(0.5), height - 3, x_label, "text-anchor=\"middle\"");
    const double middle = up(0.5);
    return svg +
           format(
               "<text transform=\"rotate(-90 10 %.1f)\" x=\"10\" y=\"%.1f\" "
               "text-anchor=\"middle\">",
               middle, middle) +
           escape_html(y_label) + "</text>\n";
  }
  std::string tick(double share, const std::string& label) const {
    return text_at(across(share), up(0) + 16, label, "text-anchor=\"middle\"");
  }
  std::string legend(const std::vector<std::string>& names, bool rest) const {
    std::string svg;
    double y = top + 6;
    for (std::size_t i = 0; i < names.size(); ++i, y += 17)
      svg +=
          format("<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" ", left + 10, y) +
          (rest && i + 1 == names.size() ? kOtherArea : area(i)) + "/>\n" +
          text_at(left + 27, y + 10, names[i],
                  "class=\"haloed\" paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"3\"");
    return svg;
  }
};

/// Shares stacked over the bins; a run of bins that hold images reaches from edge to edge, as
/// published at both ends, and a bin without any leaves a gap.
std::string stacked(const Canvas& canvas, const ClassComposition& composition) {
  std::string svg;
  const std::size_t bins = composition.counts.size();
  const double step = 1.0 / static_cast<double>(bins);
  std::vector<double> below(bins, 0);
  for (std::size_t c = 0; c < composition.shares.size(); ++c) {
    std::string shape;
    for (std::size_t begin = 0; begin < bins;) {
      std::size_t end = begin;
      while (end < bins && composition.counts[end] > 0) ++end;
      if (end == begin) {
        ++begin;
        continue;
      }
      std::string path, back;
      const auto point = [&](double x, std::size_t bin) {
        const double above = std::min(1.0, below[bin] + composition.shares[c][bin]);
        path +=
            format(path.empty() ? "M%.0f,%.0f" : "L%.0f,%.0f", canvas.across(x), canvas.up(above));
        back = format("L%.0f,%.0f", canvas.across(x), canvas.up(below[bin])) + back;
      };
      point(static_cast<double>(begin) * step, begin);
      for (std::size_t b = begin; b < end; ++b) point((static_cast<double>(b) + 0.5) * step, b);
      point(static_cast<double>(end) * step, end - 1);
      shape += path + back + "Z";
      begin = end;
    }
    for (std::size_t b = 0; b < bins; ++b)
      if (composition.counts[b] > 0) below[b] = std::min(1.0, below[b] + composition.shares[c][b]);
    svg += "<path d=\"" + shape + "\" " +
           (c + 1 == composition.shares.size() ? kOtherArea : area(c)) + "><title>" +
           escape_html(composition.names[c]) + "</title></path>\n";
  }
  for (int quarter = 0; quarter <= 4; ++quarter)
    svg += canvas.tick(
        quarter / 4.0,
        format("%.3g", composition.min + quarter / 4.0 * (composition.max - composition.min)));
  return svg;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string result;
  for (const char c : text)
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '"' ? "&quot;" : std::string(1, c);
  return result;
}

std::string share_plot(const std::string& title, const std::string& x_label,
                       const std::string& y_label, const std::vector<double>& x,
                       const std::vector<PlotLine>& lines) {
  const Canvas canvas;
  std::string svg = canvas.opening(title) + canvas.heading(title) + canvas.grid(x_label, y_label);
  const double low = std::log10(x.front()), high = std::log10(x.back());
  const auto share_of = [&](double value) {
    return (std::log10(value) - low) / std::max(high - low, 1e-9);
  };
  const auto across = [&](double value) { return canvas.across(share_of(value)); };
  const auto up = [&](double share) { return canvas.up(share); };
  for (double tick = std::ceil(low - 1e-9); tick <= high + 1e-9; ++tick)
    svg += canvas.tick(share_of(std::pow(10.0, tick)), format("%g %%", 100 * std::pow(10.0, tick)));
  std::vector<std::string> names;
  for (std::size_t l = 0; l < lines.size(); ++l) {
    const PlotLine& line = lines[l];
    names.push_back(line.name);
    std::string path, band_up, band_down;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!std::isfinite(line.y[i])) continue;
      path += format(path.empty() ? "M%.1f,%.1f" : "L%.1f,%.1f", across(x[i]), up(line.y[i]));
      if (line.spread.empty() || !std::isfinite(line.spread[i])) continue;
      band_up += format(band_up.empty() ? "M%.1f,%.1f" : "L%.1f,%.1f", across(x[i]),
                        up(std::min(1.0, line.y[i] + line.spread[i])));
      band_down =
          format("L%.1f,%.1f", across(x[i]), up(std::max(0.0, line.y[i] - line.spread[i]))) +
          band_down;
    }
    if (!band_up.empty())
      svg += "<path d=\"" + band_up + band_down + "Z\" " + area(l) + " fill-opacity=\"0.14\"/>\n";
    if (!path.empty())
      svg += "<path d=\"" + path + "\" fill=\"none\" stroke-width=\"2\" " + line_of(l) + "/>\n";
  }
  return svg + canvas.legend(names, false) + "</svg>\n";
}

std::string composition_plot(const std::string& title, const ClassComposition& composition) {
  const Canvas canvas;
  return canvas.opening(title) + canvas.heading(title) +
         canvas.grid("activation", "share of images") + stacked(canvas, composition) +
         canvas.legend(composition.names, true) + "</svg>\n";
}

std::string composition_figure(const ClassComposition& composition) {
  const Canvas canvas{360, 240, 48, 12, 8, 36};
  return canvas.opening("Share of classes over the activation range") +
         canvas.grid("activation", "share of images") + stacked(canvas, composition) + "</svg>";
}

std::string html_page(const std::string& title, const std::string& kind, const std::string& facts,
                      const std::string& body) {
  return std::string(
             "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<link rel=\"icon\" href=\"data:,\">\n<title>") +
         escape_html(title) + "</title>\n<style>\n" + kReportCss +
         "</style>\n</head>\n<body>\n<header class=\"top\"><div><p class=\"brand\">linex <span>" +
         escape_html(kind) + "</span></p><h1>" + escape_html(title) + "</h1><p class=\"facts\">" +
         escape_html(facts) + "</p></div>" + kThemeHtml + "</header>\n<main>\n" + body +
         "</main>\n<script>\n" + kThemeJs + "</script>\n</body>\n</html>\n";
}

std::string plot_page(const std::string& title, const std::vector<PlotSection>& sections) {
  std::string html;
  for (const auto& section : sections) {
    html += "<section><h2>" + escape_html(section.title) + "</h2>\n<p class=\"facts\">" +
            escape_html(section.text) + "</p>\n<div class=\"charts\">\n";
    for (const auto& plot : section.plots)
      html += "<figure class=\"chart\">\n" + plot + "</figure>\n";
    html += "</div></section>\n";
  }
  return html_page(title, "analyse", "", html);
}

}  // namespace linex
