// summary.json: what a run found, how long it took and what it was made with.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/run/stage_clock.hpp"
#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/model.hpp"
#include "toolkit/base/stats.hpp"

namespace linex {

struct PluginUse {
  std::string role;  ///< "solver", "simulator", ...
  std::string kind, name, version, file, sha256;
};

/// Everything summary.json holds, in the contract's names.
struct RunSummary {
  std::filesystem::path out;  ///< run.out
  std::vector<Explanation> explanations;
  std::vector<std::string> layers;  ///< one an explanation
  std::vector<ScoreColumn> scores;
  std::vector<double> test_correlation;  ///< one an explanation, kNone where there is none
  std::vector<PluginUse> plugins;
  std::map<std::string, std::map<std::string, std::string>> options;  ///< everything resolved
  std::map<std::string, std::map<std::string, OptionValues::Value>> typed_options;  ///< the same
  std::optional<Preprocess> preprocess;  ///< of a network: how it took pixels
  std::vector<std::string> warnings;
  /// ScoreColumn::sanity by layer and score.
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> sanity;
  std::map<std::string, double> figures;  ///< a solver's own numbers (of several layers: the last)
  std::map<std::string, std::map<std::string, double>> layer_figures;  ///< by layer
  std::vector<std::string> trust;  ///< what the solver says about how far to trust the means
  std::string complaint;           ///< why correlations of this run mean little, or ""
  int ranks = 1;                   ///< processes that worked on it
  std::vector<std::string> hosts;  ///< the machines they ran on
  /// What the run was made of, beside plugins and options: digests by name.
  std::map<std::string, std::string> provenance;
};

/// Names of the layers in their order, each with the positions of its explanations.
std::vector<std::pair<std::string, std::vector<std::size_t>>> by_layer(const RunSummary& summary);

/// One mean a layer, and the keys of the contract over all of them. Means are over units whose
/// status is ok (or not_converged); what is left out is in status_counts.
void write_summary(const std::filesystem::path& path, const RunSummary& summary,
                   const StageClock& clock);

/// `sanity` of a summary.json; empty where there is no such file or key.
std::map<std::string, std::map<std::string, std::map<std::string, double>>> read_sanity(
    const std::filesystem::path& path);

/// `trust` of a summary.json, lines for people; empty where there is no such file or key.
std::vector<std::string> read_trust(const std::filesystem::path& path);

/// Largest resident set of this process so far, in MB.
double peak_rss_mb();

}  // namespace linex
