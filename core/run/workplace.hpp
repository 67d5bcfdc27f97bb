// Everything a run needs, opened and checked from its configuration.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cluster/run_cluster.hpp"
#include "core/plugin/option_schema.hpp"
#include "core/plugin/plugin_registry.hpp"
#include "core/run/explain.hpp"
#include "core/run/host_context.hpp"
#include "core/run/sections.hpp"
#include "core/run/summary.hpp"
#include "toolkit/data/dataset.hpp"

namespace linex {

/// Names of every "section.key" there is, given the plugins that a first look found.
std::vector<std::string> known_keys(PluginRegistry& registry, const Sections& first_look);

/// Help on every section's keys, those of the plugins named in `first_look` too.
std::string section_help(PluginRegistry& registry, const Sections& first_look);

/// A configuration resolved against defaults and declarations, and the plugins it names. Opening
/// checks options first, then files; long work comes after. One at a time: it sets LibTorch's
/// threads. The first one makes this process one of the ranks of its cluster.
class Workplace {
 public:
  /// Checks every option of every section; loads no plugin object yet.
  Workplace(PluginRegistry& registry, const Sections& raw);

  const RunSettings& settings() const { return settings_; }
  const std::filesystem::path& out() const { return out_; }
  ConsoleLogger& log() { return *log_; }
  const PluginContext& context() const { return *context_; }
  RunCluster& cluster() const { return cluster_; }
  /// Whether this process writes the run's files: rank 0.
  bool leads() const { return cluster_.leads(); }
  /// The host's own keys of a section.
  const OptionValues& options(const std::string& section) const {
    return resolved_.at(section).values;
  }

  /// States how the network takes pixels in what run.ini, keys and summary say, where its plugin
  /// has options for that: what was left to the weights is written out.
  void settle_preprocess(const Preprocess& preprocess);
  /// Null where data.root is empty.
  std::shared_ptr<const DataSet> open_data();
  Named<TargetModel> open_model();
  Named<SparseSolver> open_solver();
  std::vector<Named<Evaluator>> open_evaluators();
  /// Attached to `data`.
  Named<ConceptLabeler> open_labeler(const std::shared_ptr<const DataSet>& data);
  /// Of "labeler" or "simulator", which names one; not attached.
  Named<ConceptLabeler> open_unattached(const std::string& section);
  /// simulator.plugin, or `labeler` itself where none is named. Attached.
  Named<ConceptLabeler> open_simulator(const std::shared_ptr<const DataSet>& data,
                                       const Named<ConceptLabeler>& labeler);
  /// Of `rows` rows; those of `data` where there is one.
  Split open_split(std::int64_t rows, const DataSet* data) const;

  /// Whether the section names a plugin.
  bool has_plugin(const std::string& section) const;
  /// Creates run.out (rank 0 alone) and run.cache. From now on run.out is this run's: another
  /// process that wants it is refused. Throws Error(input).
  void claim_out();
  /// Claims run.out and writes run.ini into it.
  void prepare_out();
  /// The configuration as an INI file that runs again as it is.
  std::string ini() const;
  /// Every file and folder that options name, those of plugins too.
  std::vector<std::filesystem::path> files() const;
  /// Digest of everything that determines a result, apart from data and weights: the options (not
  /// run.out, threads, cache, ... ), the contents of files they name and the plugin files. Part of
  /// run_key().
  std::string digest() const;
  /// plugins, options and warnings of summary.json.
  void describe(RunSummary& summary) const;

 private:
  /// A plugin a section names, its options resolved.
  struct Choice {
    std::string name;
    ResolvedOptions options;
  };

  template <class Interface>
  Named<Interface> open(const std::string& section, const Choice& choice);
  template <class Interface>
  Named<Interface> open_only(const std::string& section, const char* advice);
  /// Whether a section's plugin is a command of the user's.
  bool runs_command(const Section& entry) const;
  /// Every key of a section once, with its resolved text.
  std::vector<std::pair<std::string, std::string>> texts(const std::string& section) const;

  PluginRegistry& registry_;
  std::map<std::string, ResolvedOptions> resolved_;  // the host's keys, by section
  RunCluster& cluster_;
  std::map<std::string, std::vector<Choice>> choices_;  // by section
  RunSettings settings_;
  Precision precision_;
  std::filesystem::path out_;
  bool quiet_ = false;
  std::shared_ptr<ConsoleLogger> log_;
  std::shared_ptr<HostContext> context_;
  std::vector<PluginUse> used_;
  std::optional<Preprocess> preprocess_;
  std::shared_ptr<const void> lock_;  // on run.out
};

}  // namespace linex
