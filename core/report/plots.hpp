// Plots as SVG files, for `linex analyse`.
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

/// Stacked shares over the activation range (docs/methods.md §1.12), edges padded as published.
std::string composition_plot(const std::string& title, const ClassComposition& composition);

/// A heading, a paragraph and plots side by side.
struct PlotSection {
  std::string title, text;
  std::vector<std::string> plots;  ///< SVG
};

/// A page of plots in the report's style: one file that opens from disk.
std::string plot_page(const std::string& title, const std::vector<PlotSection>& sections);

}  // namespace linex
