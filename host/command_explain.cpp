// linex explain, linex evaluate: runs, and the few lines a person wants after them.
#include <cstdio>

#include "core/run/outcome.hpp"
#include "core/run/run.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"

namespace linex {

int run_explain(PluginRegistry& registry, const Sections& raw) {
  std::fputs(outcome_text(explain_run(registry, raw)).c_str(), stdout);
  return 0;
}

int run_evaluate(PluginRegistry& registry, const Sections& raw,
                 const std::string& explanation_file) {
  if (explanation_file.empty()) throw usage_error("linex evaluate needs --explanations FILE.csv");
  std::fputs(outcome_text(evaluate_run(registry, raw, explanation_file)).c_str(), stdout);
  return 0;
}

}  // namespace linex
