#include "core/report/plots.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/report/page.hpp"

namespace linex {

namespace {

constexpr double kWidth = 640, kHeight = 400, kLeft = 64, kRight = 24, kTop = 44, kBottom = 52;
constexpr const char* kColours[] = {"#2a5bd7", "#c2600a", "#0b7f63", "#a02c82",
                                    "#6b5bd6", "#7b6a00", "#00788f", "#a8323e"};
constexpr const char* kOther = "#d9dde5";

const char* colour(std::size_t index) { return kColours[index % std::size(kColours)]; }

std::string format(const char* pattern, double a, double b = 0, double c = 0, double d = 0) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, pattern, a, b, c, d);
  return buffer;
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text)
    result += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '"' ? "&quot;" : std::string(1, c);
  return result;
}

std::string text_at(double x, double y, const std::string& text, const char* more = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + more + ">" + escaped(text) + "</text>\n";
}

double up(double share) { return kHeight - kBottom - share * (kHeight - kTop - kBottom); }

std::string opening(const std::string& title) {
  return format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
             "font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#3b4252\">\n",
             kWidth, kHeight) +
         "<title>" + escaped(title) +
         "</title>\n<rect width=\"100%\" height=\"100%\" "
         "fill=\"#fff\"/>\n" +
         text_at(kLeft, 24, title, "font-size=\"15\" font-weight=\"600\"");
}

/// Horizontal lines at quarters, and what the axes mean.
std::string grid(const std::string& x_label, const std::string& y_label) {
  std::string svg;
  for (int quarter = 0; quarter <= 4; ++quarter) {
    const double y = up(quarter / 4.0);
    svg += format("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#d9dde5\"/>\n",
                  kLeft, kWidth - kRight, y, y);
    svg += text_at(kLeft - 8, y + 4, std::to_string(25 * quarter) + " %", "text-anchor=\"end\"");
  }
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 10, x_label, "text-anchor=\"middle\"");
  const double middle = (up(0) + up(1)) / 2;
  svg += format(
             "<text transform=\"rotate(-90 14 %.1f)\" x=\"14\" y=\"%.1f\" "
             "text-anchor=\"middle\">",
             middle, middle) +
         escaped(y_label) + "</text>\n";
  return svg;
}

std::string legend(const std::vector<std::string>& names, const char* last) {
  std::string svg;
  double y = kTop + 6;
  for (std::size_t i = 0; i < names.size(); ++i, y += 17) {
    const char* fill = last && i + 1 == names.size() ? last : colour(i);
    svg +=
        format("<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" ", kLeft + 10, y) +
        "fill=\"" + fill + "\"/>\n" +
        text_at(kLeft + 27, y + 10, names[i],
                "paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"3\"");
  }
  return svg;
}

}  // namespace

std::string share_plot(const std::string& title, const std::string& x_label,
                       const std::string& y_label, const std::vector<double>& x,
                       const std::vector<PlotLine>& lines) {
  std::string svg = opening(title) + grid(x_label, y_label);
  const double low = std::log10(x.front()), high = std::log10(x.back());
  const auto across = [&](double value) {
    return kLeft +
           (std::log10(value) - low) / std::max(high - low, 1e-9) * (kWidth - kLeft - kRight);
  };
  for (double tick = std::ceil(low - 1e-9); tick <= high + 1e-9; ++tick) {
    char label[32];
    std::snprintf(label, sizeof label, "%g %%", 100 * std::pow(10.0, tick));
    svg += text_at(across(std::pow(10.0, tick)), kHeight - kBottom + 18, label,
                   "text-anchor=\"middle\"");
  }
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
      svg += "<path d=\"" + band_up + band_down + "Z\" fill=\"" + colour(l) +
             "\" fill-opacity=\"0.14\"/>\n";
    if (!path.empty())
      svg += "<path d=\"" + path + "\" fill=\"none\" stroke-width=\"2\" stroke=\"" + colour(l) +
             "\"/>\n";
  }
  return svg + legend(names, nullptr) + "</svg>\n";
}

std::string composition_plot(const std::string& title, const ClassComposition& composition) {
  std::string svg = opening(title) + grid("activation", "share of images");
  const std::size_t bins = composition.counts.size();
  std::vector<double> x{0};
  for (std::size_t b = 0; b < bins; ++b)
    x.push_back((static_cast<double>(b) + 0.5) * composition.max / static_cast<double>(bins));
  x.push_back(composition.max);
  const auto across = [&](double value) {
    return kLeft + value / composition.max * (kWidth - kLeft - kRight);
  };
  std::vector<double> below(x.size(), 0);
  for (std::size_t c = 0; c < composition.shares.size(); ++c) {
    const auto& shares = composition.shares[c];
    std::string path, back;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double share = shares[std::clamp<std::size_t>(i, 1, bins) - 1];
      const double above = std::min(1.0, below[i] + share);
      path += format(path.empty() ? "M%.1f,%.1f" : "L%.1f,%.1f", across(x[i]), up(above));
      back = format("L%.1f,%.1f", across(x[i]), up(below[i])) + back;
      below[i] = above;
    }
    const bool last = c + 1 == composition.shares.size();
    svg += "<path d=\"" + path + back + "Z\" fill=\"" + (last ? kOther : colour(c)) + "\"/>\n";
  }
  for (int tick = 0; tick <= 4; ++tick) {
    const double value = composition.max * tick / 4;
    svg += text_at(across(value), kHeight - kBottom + 18, format("%.3g", value),
                   "text-anchor=\"middle\"");
  }
  return svg + legend(composition.names, kOther) + "</svg>\n";
}

std::string plot_page(const std::string& title, const std::vector<PlotSection>& sections) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>" +
      escaped(title) + "</title>\n<style>\n" + kReportCss +
      "</style>\n</head>\n<body>\n<header class=\"top\"><div><p class=\"brand\">linex "
      "<span>analyse</span></p><h1>" +
      escaped(title) + "</h1></div></header>\n<main>\n";
  for (const auto& section : sections) {
    html += "<section><h2>" + escaped(section.title) + "</h2>\n<p class=\"facts\">" +
            escaped(section.text) + "</p>\n<div class=\"charts\">\n";
    for (const auto& plot : section.plots)
      html += "<figure class=\"chart\">\n" + plot + "</figure>\n";
    html += "</div></section>\n";
  }
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace linex
