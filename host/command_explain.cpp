// linex explain, linex evaluate: runs, and the few lines a person wants after them.
#include <cstdio>

#include "core/cluster/run_cluster.hpp"
#include "core/run/export.hpp"
#include "core/run/outcome.hpp"
#include "core/run/run.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"

namespace linex {

int run_explain(PluginRegistry& registry, const Sections& raw, const std::string& formats) {
  if (!formats.empty()) parse_export_formats(formats);  // before hours of work
  const RunSummary summary = explain_run(registry, raw);
  std::fputs(outcome_text(summary).c_str(), stdout);
  const RunCluster& cluster = *joined_cluster();
  if (formats.empty() || !cluster.leads()) return 0;
  const RunCluster::Apart apart(cluster);
  return run_export(registry, summary.out.string(), formats);
}

int run_evaluate(PluginRegistry& registry, const Sections& raw,
                 const std::string& explanation_file) {
  if (explanation_file.empty()) throw usage_error("linex evaluate needs --explanations FILE.csv");
  std::fputs(outcome_text(evaluate_run(registry, raw, explanation_file)).c_str(), stdout);
  return 0;
}

}  // namespace linex
