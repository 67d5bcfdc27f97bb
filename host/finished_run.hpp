// The folder of a finished run, read back.
#pragma once

#include <filesystem>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/sections.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

struct FinishedRun {
  Sections sections;  ///< of its run.ini, with run.out the folder
  ExplanationFile explanations;
};

/// Throws Error(input) where the folder holds no finished run.
FinishedRun read_finished_run(PluginRegistry& registry, const std::filesystem::path& folder);

}  // namespace linex
