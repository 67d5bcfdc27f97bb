#include "core/run/summary.hpp"

#include <sys/resource.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "toolkit/base/files.hpp"

namespace linex {

namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

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

void write_summary(const std::filesystem::path& path, const RunSummary& summary,
                   const StageClock& clock) {
  std::map<std::string, int> counts;
  std::vector<double> val, length;
  for (const auto& explanation : summary.explanations) {
    ++counts[to_string(explanation.status)];
    if (explanation.terms.empty()) continue;
    val.push_back(explanation.val_correlation);
    length.push_back(static_cast<double>(explanation.terms.size()));
  }
  const MeanSem test = mean_sem(summary.test_correlation);

  Json json;
  json["units"] = summary.explanations.size();
  json["status_counts"] = counts;
  json["mean_val_correlation"] = number(mean_sem(val).mean);
  json["mean_test_correlation"] = number(test.mean);
  json["sem_test_correlation"] = number(test.sem);
  json["scored_units"] = test.n;
  json["mean_length"] = number(mean_sem(length).mean);
  for (const auto& score : summary.scores) {
    const MeanSem mean = mean_sem(score.value);
    std::map<std::string, int> left_out;
    for (std::size_t i = 0; i < score.value.size(); ++i)
      if (!std::isfinite(score.value[i])) ++left_out[to_string(score.status[i])];
    json["scores"][score.name] = {{"mean", number(mean.mean)},
                                  {"sem", number(mean.sem)},
                                  {"n", mean.n},
                                  {"higher_is_better", score.higher_is_better},
                                  {"left_out", left_out}};
  }
  for (const char* stage : {"activations", "concepts", "moments", "solve", "evaluate", "report"})
    json["timings_s"][stage] = clock.seconds(stage);
  json["timings_s"]["total"] = clock.total();
  json["peak_rss_mb"] = peak_rss_mb();
  json["figures"] = Json::object();
  for (const auto& [name, value] : summary.figures) json["figures"][name] = number(value);
  if (!summary.sanity.empty()) json["sanity"] = summary.sanity;
  json["plugins"] = Json::array();
  for (const auto& plugin : summary.plugins)
    json["plugins"].push_back({{"role", plugin.role},
                               {"kind", plugin.kind},
                               {"name", plugin.name},
                               {"version", plugin.version},
                               {"file", plugin.file},
                               {"sha256", plugin.sha256}});
  json["options"] = summary.options;
  json["warnings"] = summary.warnings;
  write_file_atomic(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace linex
