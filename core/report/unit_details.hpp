// What a unit's card shows beside explanations and scores.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/report/report.hpp"
#include "core/report/unit_images.hpp"

namespace linex {

using ReportJson = nlohmann::ordered_json;

/// Four significant digits, null where it is not finite.
ReportJson report_number(double value);

/// A unit some method explains.
struct ReportUnit {
  std::size_t layer = 0;
  std::int64_t unit = 0;
  std::vector<std::int64_t> at;  ///< its place among each method's explanations, -1 = none
};
/// Units of a layer, ascending.
std::vector<ReportUnit> units_of(const ReportLayer& layer, std::size_t index);

/// Classes over equal bins of activation (docs/methods.md §1.12), lower < a ≤ upper: from 0 to the
/// maximum, or, of a unit with negative activations, from the minimum, which the first bin holds.
struct ClassComposition {
  double min = 0, max = 0;
  std::vector<std::int64_t> counts;         ///< images a bin
  std::vector<std::string> names;           ///< the classes that stand out, then "other"
  std::vector<std::vector<double>> shares;  ///< [name][bin]; NaN in empty bins
};
/// `activation` float32 (N), a label a row. The `named` classes with the largest shares, summed
/// over bins. Empty counts where the activation is 0 or one constant.
ClassComposition class_composition(const torch::Tensor& activation,
                                   const std::vector<std::int64_t>& labels,
                                   const std::vector<std::string>& class_names, std::int64_t bins,
                                   std::size_t named);

/// What a page adds to explanations and scores.
struct PageDetails {
  std::vector<ReportJson> units;      ///< one object a unit; empty where no layer has activations
  std::vector<Thumbnail> thumbnails;  ///< by row
};
/// Bands of images, those predicted worst by the method `lead`, predicted and actual values,
/// classes over the activation range; what the run cannot give is left out.
PageDetails collect_details(const Report& report, const std::vector<ReportUnit>& units,
                            std::size_t lead, const ReportOptions& options,
                            const PluginContext& context);

/// Up to `count` positions at which `actual` lies farthest from its best line through `predicted`,
/// the farthest first: methods predict in units of their own. Empty where `predicted` is constant
/// or not finite. Both float (n).
std::vector<std::int64_t> worst_predicted(const float* predicted, const float* actual,
                                          std::int64_t n, std::size_t count);

}  // namespace linex
