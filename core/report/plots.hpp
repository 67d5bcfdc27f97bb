// Plots as SVG, and pages of them.
#pragma once

#include <string>
#include <vector>

#include "core/report/unit_details.hpp"

namespace linex {

/// One line of a plot, with a band around it.
struct PlotLine {
  std::string name;
  std::vector<double> y, spread;  ///< spread is drawn as y ± spread where not empty
};

/// Shares in [0, 1] over ascending positive `x` on a logarithmic axis.
std::string share_plot(const std::string& title, const std::string& x_label,
                       const std::string& y_label, const std::vector<double>& x,
                       const std::vector<PlotLine>& lines);

/// Stacked shares over the activation range (docs/methods.md §1.12), edges padded as published;
/// bins without an image leave a gap.
std::string composition_plot(const std::string& title, const ClassComposition& composition);
/// The same for a card: small, without title and legend, whose colours are those of the page.
std::string composition_figure(const ClassComposition& composition);

/// A heading, a paragraph and plots side by side.
struct PlotSection {
  std::string title, text;
  std::vector<std::string> plots;  ///< SVG
};

/// `text` for the inside of an element or a quoted attribute.
std::string escape_html(const std::string& text);

/// A page in the report's style: one file that opens from disk. `kind` stands beside "linex",
/// `facts` below the title; `body` is HTML.
std::string html_page(const std::string& title, const std::string& kind, const std::string& facts,
                      const std::string& body);

/// A page of plots in the report's style: one file that opens from disk.
std::string plot_page(const std::string& title, const std::vector<PlotSection>& sections);

}  // namespace linex
