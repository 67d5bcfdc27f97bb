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

/// Classes over equal bins of activation (docs/methods.md §1.12), lower < a ≤ upper, from 0 to the
/// maximum.
struct ClassComposition {
  double max = 0;
  std::vector<std::int64_t> counts;         ///< images a bin
  std::vector<std::string> names;           ///< the classes that stand out, then "other"
  std::vector<std::vector<double>> shares;  ///< [name][bin]; 0 in empty bins
};
/// `activation` float32 (N), a label a row. The `named` classes with the largest shares, summed
/// over bins. Empty counts where no activation is positive.
ClassComposition class_composition(const torch::Tensor& activation,
                                   const std::vector<std::int64_t>& labels,
                                   const std::vector<std::string>& class_names, std::int64_t bins,
                                   std::size_t named);

/// What a page adds to explanations and scores.
struct PageDetails {
  std::vector<ReportJson> units;      ///< one object a unit; empty where no layer has activations
  std::vector<Thumbnail> thumbnails;  ///< by row
};
/// Bands of images, predicted and actual values, classes over the activation range; what the run
/// cannot give is left out.
PageDetails collect_details(const Report& report, const std::vector<ReportUnit>& units,
                            const ReportOptions& options, const PluginContext& context);

}  // namespace linex
