// linex analyse: where in its range a unit matters, what its range is made of, which units are dead
// (docs/methods.md §1.11–1.13); numbers as CSV and JSON, plots as SVG.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/report/plots.hpp"
#include "core/run/run_stages.hpp"
#include "core/run/units.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/intervention/impact.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

constexpr double kTemperature = 1.1;
/// Plots of single units stop here; their numbers do not.
constexpr std::size_t kMostPlots = 256;

/// One layer under analysis.
struct Analysis {
  std::string layer;
  torch::Tensor activations;
  std::vector<std::int64_t> units;
  std::vector<std::vector<double>> shares;  ///< [unit][x of the curve, then kImpactCuts]
  std::vector<std::int64_t> dead;
};

/// Points of the curve: the published cuts come after them.
std::vector<double> curve_points() {
  std::vector<double> x;
  for (int i = 0; i <= 35; ++i) x.push_back(std::pow(10.0, -3.5 + 0.1 * i));
  return x;
}

struct Spread {
  double mean, std;
};
Spread spread_at(const Analysis& analysis, std::size_t column) {
  std::vector<double> values;
  for (const auto& shares : analysis.shares) values.push_back(shares[column]);
  const MeanSem mean = mean_sem(values);
  return {mean.mean, mean.sem * std::sqrt(static_cast<double>(mean.n))};
}

PlotSection write_impact(const fs::path& out, const std::vector<Analysis>& layers,
                         const std::vector<double>& x, nlohmann::ordered_json& json) {
  std::vector<std::string> header{"layer", "unit"};
  for (const double cut : kImpactCuts) header.push_back("top " + format_number(100 * cut) + "%");
  std::string csv = csv_record(header);
  std::vector<PlotLine> lines;
  std::printf(
      "share of a unit's impact in the images where it is most active (mean ± std)\n  %-16s",
      "top");
  for (const double cut : kImpactCuts)
    std::printf(" %14s", (format_number(100 * cut) + " %").c_str());
  std::printf("\n");
  for (const auto& layer : layers) {
    for (std::size_t u = 0; u < layer.units.size(); ++u) {
      std::vector<std::string> cells{layer.layer, std::to_string(layer.units[u])};
      for (std::size_t c = x.size(); c < layer.shares[u].size(); ++c)
        cells.push_back(format_number(layer.shares[u][c]));
      csv += csv_record(cells);
    }
    PlotLine line{layer.layer, {}, {}};
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Spread spread = spread_at(layer, i);
      line.y.push_back(spread.mean);
      line.spread.push_back(spread.std);
    }
    lines.push_back(std::move(line));
    std::printf("  %-16s", layer.layer.c_str());
    for (std::size_t c = 0; c < std::size(kImpactCuts); ++c) {
      const Spread spread = spread_at(layer, x.size() + c);
      std::printf("  %5.1f ± %4.1f %%", 100 * spread.mean, 100 * spread.std);
      json["impact"][layer.layer].push_back(
          {{"cut", kImpactCuts[c]}, {"mean", spread.mean}, {"std", spread.std}});
    }
    std::printf("\n");
  }
  write_file_atomic(out / "impact.csv", csv);
  const std::string plot =
      share_plot("Where in its activation range does a unit matter?",
                 "share of images, most active first", "share of impact", x, lines);
  write_file_atomic(out / "impact.svg", plot);
  return {"Impact",
          "Share of a unit's impact on loss and accuracy that falls into the images where it is "
          "most active: mean and standard deviation over units, each removed in turn.",
          {plot}};
}

/// Class composition of every unit as CSV, of the first few as plots.
PlotSection write_compositions(const fs::path& out, const std::vector<Analysis>& layers,
                               const DataSet& data) {
  const fs::path folder = out / "composition";
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::string csv = csv_record({"layer", "unit", "bin", "low", "high", "images", "class", "share"});
  PlotSection section{"Classes over the activation range",
                      "Share of each class among the images of eight equal bins of activation.",
                      {}};
  for (const auto& layer : layers)
    for (const auto unit : layer.units) {
      const auto found = class_composition(layer.activations.select(1, unit), data.labels(),
                                           data.class_names(), 8, 6);
      if (found.counts.empty()) continue;
      const double step = (found.max - found.min) / static_cast<double>(found.counts.size());
      for (std::size_t b = 0; b < found.counts.size(); ++b)
        for (std::size_t c = 0; c < found.names.size(); ++c)
          csv += csv_record({layer.layer, std::to_string(unit), std::to_string(b),
                             format_number(found.min + step * static_cast<double>(b)),
                             format_number(found.min + step * static_cast<double>(b + 1)),
                             std::to_string(found.counts[b]), found.names[c],
                             format_number(found.shares[c][b])});
      if (section.plots.size() == kMostPlots) continue;
      const std::string name = layer.layer + "-" + std::to_string(unit);
      section.plots.push_back(
          composition_plot("Unit " + std::to_string(unit) + " of " + layer.layer, found));
      write_file_atomic(folder / (name + ".svg"), section.plots.back());
    }
  write_file_atomic(out / "composition.csv", csv);
  return section;
}

/// Dead units, and the means of a file's scores with and without them.
PlotSection report_dead(const std::vector<Analysis>& layers, const ExplanationFile* file, bool only,
                        nlohmann::ordered_json& json) {
  PlotSection section{"Dead units", "", {}};
  for (const auto& layer : layers) {
    auto& entry = json["dead"][layer.layer];
    entry["units"] = layer.dead;
    entry["share"] = static_cast<double>(layer.dead.size()) /
                     static_cast<double>(std::max<std::size_t>(layer.units.size(), 1));
    const std::string line = layer.layer + ": " + std::to_string(layer.dead.size()) + " of " +
                             std::to_string(layer.units.size()) +
                             " units are dead (the same on every image)";
    std::printf("%s\n", line.c_str());
    section.text += (section.text.empty() ? "" : "; ") + line;
    if (!file) continue;
    const auto rows = select_rows(*file, layer.layer, only);
    for (const auto& score : rows.scores) {
      std::vector<double> alive;
      for (std::size_t i = 0; i < score.value.size(); ++i)
        if (!std::binary_search(layer.dead.begin(), layer.dead.end(), rows.explanations[i].unit))
          alive.push_back(score.value[i]);
      const MeanSem all = mean_sem(score.value), living = mean_sem(alive);
      std::printf("  %-22s %.4f ± %.4f over all, %.4f ± %.4f without dead units\n",
                  score.name.c_str(), all.mean, all.sem, living.mean, living.sem);
      entry["scores"][score.name] = {{"all", all.mean},
                                     {"all_sem", all.sem},
                                     {"alive", living.mean},
                                     {"alive_sem", living.sem}};
    }
  }
  return section;
}

}  // namespace

int run_analyse(PluginRegistry& registry, const Sections& raw,
                const std::string& explanation_file) {
  ExplanationFile file;
  if (!explanation_file.empty()) file = read_explanations(explanation_file);
  Workplace place(registry, raw);
  const auto data = place.open_data();
  Source source = open_source(place, data);
  source.check_units(place.options("run").text("units"));
  place.prepare_out();
  StageClock clock;
  const auto recorded = record_activations(place, source, clock, false);
  const bool images = !source.recorded.defined() && !data->labels().empty();
  if (!images)
    place.log().warning(
        "impact and class composition need a network and labelled images; only "
        "dead units are told");

  auto cuts = curve_points();
  const auto x = cuts;
  cuts.insert(cuts.end(), std::begin(kImpactCuts), std::end(kImpactCuts));
  std::vector<Analysis> layers;
  for (std::size_t l = 0; l < source.layers.size(); ++l) {
    Analysis analysis{source.layers[l], recorded.layers[l], {}, {}, {}};
    analysis.units = parse_units(place.options("run").text("units"), analysis.activations.size(1));
    analysis.dead = dead_units(analysis.activations, analysis.units);
    if (images)
      analysis.shares =
          measure_impact({*source.model.object, data, analysis.layer, source.pool, Fill::constant},
                         analysis.activations, analysis.units, cuts, kTemperature, place.context());
    layers.push_back(std::move(analysis));
  }

  nlohmann::ordered_json json;
  std::vector<PlotSection> sections;
  if (images) sections.push_back(write_impact(place.out(), layers, x, json));
  sections.push_back(report_dead(layers, explanation_file.empty() ? nullptr : &file,
                                 source.layers.size() == 1, json));
  if (images) sections.push_back(write_compositions(place.out(), layers, *data));
  write_file_atomic(place.out() / "analysis.html",
                    plot_page("Units of " + join(source.layers, ", "), sections));
  write_file_atomic(
      place.out() / "analysis.json",
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  std::printf("written to %s: analysis.html, its numbers as .csv and .json\n", place.out().c_str());
  return 0;
}

}  // namespace linex
