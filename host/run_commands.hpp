// Commands that run stages. Each returns the exit code of the contract or throws Error.
#pragma once

#include <string>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/benchmark_plan.hpp"
#include "host/arguments.hpp"

namespace linex {

/// `formats`: to export the run in, a comma list, may be empty.
int run_explain(PluginRegistry& registry, const Sections& raw, const std::string& formats = "");
int run_evaluate(PluginRegistry& registry, const Sections& raw,
                 const std::string& explanation_file);
int run_activations(PluginRegistry& registry, const Sections& raw);
/// Several methods on several networks (core/run/benchmark_plan.hpp).
int run_benchmark(PluginRegistry& registry, const BenchmarkConfiguration& given, bool world);
/// `explanation_file` may be empty.
int run_analyse(PluginRegistry& registry, const Sections& raw, const std::string& explanation_file);
int run_report(PluginRegistry& registry, const std::string& folder);
/// Units whose explanation says `text`, at most `top` ("" = 10), best first.
int run_find(PluginRegistry& registry, const std::string& folder, const std::string& text,
             const std::string& top, bool json);
/// A finished run in a comma list of formats (core/run/export.hpp).
int run_export(PluginRegistry& registry, const std::string& folder, const std::string& formats);
int run_concepts(PluginRegistry& registry, const Sections& raw);
/// Fits a and b of simulator.plugin to the truth of labeler.plugin on the train rows; concepts in
/// more than `max_share` ("" = 0.3) of them are left out, as the published fit did.
int run_calibrate(PluginRegistry& registry, const Sections& raw, const std::string& max_share);
struct DemoOptions {
  bool quick = false;         ///< a smaller world and networks that have hardly learnt, in seconds
  bool train_siglip = false;  ///< instead of using the one that comes with linex; takes minutes
};
/// Several methods on an embedded world; takes only [run].
int run_demo(PluginRegistry& registry, const Sections& raw, const DemoOptions& options);

struct MilanTrainRequest {
  std::string captions;        ///< CSV: layer,unit,description; several rows a unit are welcome
  std::string epochs, hidden;  ///< numbers as given, or ""
};
/// Trains a MILAN on captions of units of the run's network and writes run.out/milan.pth.
int run_milan_train(PluginRegistry& registry, const Sections& raw,
                    const MilanTrainRequest& request);

}  // namespace linex
