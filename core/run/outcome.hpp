// What a person sees after a run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/run/summary.hpp"

namespace linex {

/// A few lines: how many units came out how, one mean a layer and score, the best explained units,
/// and why there is nothing to tell where there is nothing.
std::string outcome_text(const RunSummary& summary);

/// What the solver says about how far to trust the means (certified, stability, noise floor), a
/// line each.
std::vector<std::string> trust_facts(const RunSummary& summary);

/// The explanation at `place` in one line, "  unit 3     0.912  2.1·striped + 0.5"; its layer comes
/// first where the run has several.
std::string unit_text(const RunSummary& summary, std::size_t place);

}  // namespace linex
