#include "core/run/summary.hpp"

#include <sys/resource.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <numeric>

#include "toolkit/base/files.hpp"
#include "toolkit/explanations/concept_texts.hpp"

namespace linex {

namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

/// Counts and means over the explanations at `places`.
Json means(const RunSummary& summary, const std::vector<std::size_t>& places) {
  std::map<std::string, int> counts;
  std::vector<double> val, test, length;
  for (const std::size_t i : places) {
    const Explanation& explanation = summary.explanations[i];
    ++counts[to_string(explanation.status)];
    if (i < summary.test_correlation.size()) test.push_back(summary.test_correlation[i]);
    if (explanation.terms.empty()) continue;
    val.push_back(explanation.val_correlation);
    length.push_back(static_cast<double>(concept_count(explanation)));
  }
  const MeanSem correlation = mean_sem(test);
  Json json;
  json["units"] = places.size();
  json["status_counts"] = counts;
  json["mean_val_correlation"] = number(mean_sem(val).mean);
  json["mean_test_correlation"] = number(correlation.mean);
  json["sem_test_correlation"] = number(correlation.sem);
  json["scored_units"] = correlation.n;
  json["mean_length"] = number(mean_sem(length).mean);
  for (const auto& score : summary.scores) {
    std::vector<double> values;
    std::map<std::string, int> left_out;
    for (const std::size_t i : places) {
      values.push_back(score.value[i]);
      if (!std::isfinite(score.value[i])) ++left_out[to_string(score.status[i])];
    }
    const MeanSem mean = mean_sem(values);
    json["scores"][score.name] = {{"mean", number(mean.mean)},
                                  {"sem", number(mean.sem)},
                                  {"n", mean.n},
                                  {"higher_is_better", score.higher_is_better},
                                  {"left_out", left_out}};
  }
  return json;
}

Json numbers(const std::map<std::string, double>& values) {
  Json json = Json::object();
  // "frontier/price 0.03/length" is a number within objects.
  for (const auto& [name, value] : values) json[Json::json_pointer("/" + name)] = number(value);
  return json;
}

/// An option as JSON has it: true, 3, 0.05 or "text".
Json typed(const OptionValues::Value& value) {
  const auto visitor = [](const auto& plain) {
    using Plain = std::decay_t<decltype(plain)>;
    if constexpr (std::is_same_v<Plain, std::filesystem::path>) {
      return Json(plain.string());
    } else if constexpr (std::is_same_v<Plain, OptionValues::Paths>) {
      Json list = Json::array();
      for (const auto& path : plain) list.push_back(path.string());
      return list;
    } else {
      return Json(plain);
    }
  };
  return std::visit(visitor, static_cast<const OptionValues::Choices&>(value));
}

/// 0.485 for 0.485f.
double as_written(float value) {
  char text[32];
  *std::to_chars(text, text + sizeof text - 1, value).ptr = '\0';
  return std::strtod(text, nullptr);
}

Json in_json(const Preprocess& preprocess) {
  Json json;
  using Resize = Preprocess::Resize;
  json["resize"] = preprocess.resize == Resize::none     ? "none"
                   : preprocess.resize == Resize::squash ? "squash"
                                                         : "short_side";
  json["size"] = preprocess.size;
  json["crop"] = preprocess.crop;
  json["interpolation"] =
      preprocess.interpolation == Preprocess::Interpolation::bicubic ? "bicubic" : "bilinear";
  for (const float mean : preprocess.mean) json["mean"].push_back(as_written(mean));
  for (const float deviation : preprocess.std) json["std"].push_back(as_written(deviation));
  return json;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

double peak_rss_mb() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

std::map<std::string, std::map<std::string, std::map<std::string, double>>> read_sanity(
    const std::filesystem::path& path) {
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> sanity;
  if (!std::filesystem::exists(path)) return sanity;
  const Json json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object() || !json.contains("sanity") || !json["sanity"].is_object()) return sanity;
  for (const auto& [layer, scores] : json["sanity"].items()) {
    if (!scores.is_object()) continue;
    for (const auto& [score, shares] : scores.items()) {
      if (!shares.is_object()) continue;
      for (const auto& [name, share] : shares.items())
        if (share.is_number() || share.is_null())
          sanity[layer][score][name] = share.is_null() ? kNone : share.get<double>();
    }
  }
  return sanity;
}

std::vector<std::string> read_trust(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  if (!std::filesystem::exists(path)) return lines;
  const Json json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object() || !json.contains("trust") || !json["trust"].is_array()) return lines;
  for (const auto& line : json["trust"])
    if (line.is_string()) lines.push_back(line.get<std::string>());
  return lines;
}

std::vector<std::pair<std::string, std::vector<std::size_t>>> by_layer(const RunSummary& summary) {
  std::vector<std::pair<std::string, std::vector<std::size_t>>> layers;
  for (std::size_t i = 0; i < summary.layers.size(); ++i) {
    if (layers.empty() || layers.back().first != summary.layers[i])
      layers.push_back({summary.layers[i], {}});
    layers.back().second.push_back(i);
  }
  return layers;
}

void write_summary(const std::filesystem::path& path, const RunSummary& summary,
                   const StageClock& clock) {
  std::vector<std::size_t> all(summary.explanations.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  Json json = means(summary, all);
  json["layers"] = Json::array();
  for (const auto& [layer, places] : by_layer(summary)) {
    Json entry{{"layer", layer}};
    entry.update(means(summary, places));
    const auto figures = summary.layer_figures.find(layer);
    if (figures != summary.layer_figures.end()) entry["figures"] = numbers(figures->second);
    json["layers"].push_back(std::move(entry));
  }
  for (const char* stage : {"activations", "concepts", "moments", "solve", "evaluate", "report"})
    json["timings_s"][stage] = clock.seconds(stage);
  for (const char* stage : {"digests", "stability moments", "stability"})
    if (clock.seconds(stage) > 0) json["timings_s"][stage] = clock.seconds(stage);
  json["timings_s"]["total"] = clock.total();
  json["peak_rss_mb"] = peak_rss_mb();
  json["ranks"] = summary.ranks;
  json["hosts"] = summary.hosts;
  json["exchanged_bytes"] = summary.exchanged;
  json["figures"] = numbers(summary.figures);
  if (const auto found = summary.figures.find("mean_stability"); found != summary.figures.end())
    json["mean_stability"] = number(found->second);
  if (!summary.sanity.empty()) json["sanity"] = summary.sanity;
  if (!summary.trust.empty()) json["trust"] = summary.trust;
  json["plugins"] = Json::array();
  for (const auto& plugin : summary.plugins)
    json["plugins"].push_back({{"role", plugin.role},
                               {"kind", plugin.kind},
                               {"name", plugin.name},
                               {"version", plugin.version},
                               {"file", plugin.file},
                               {"sha256", plugin.sha256}});
  json["options"] = summary.options;
  if (summary.preprocess) json["preprocess"] = in_json(*summary.preprocess);
  json["provenance"]["version"] = LINEX_VERSION;
  json["provenance"]["finished"] = utc_now();
  json["provenance"]["digests"] = summary.provenance;
  for (const auto& [section, values] : summary.typed_options)
    for (const auto& [name, value] : values)
      json["provenance"]["options"][section][name] = typed(value);
  json["warnings"] = summary.warnings;
  write_file_atomic(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace linex
