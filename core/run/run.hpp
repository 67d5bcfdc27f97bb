// A run as library calls: what is opened and checked first, the one loop over layers, and what a
// finished run leaves. The command line adds only parsing and printing.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/run/run_stages.hpp"

namespace linex {

/// What units are explained on: a network over images or recorded matrices, with its split.
struct Probe {
  std::shared_ptr<const DataSet> data;  ///< null without images
  Source source;
  Split split;
  RecordedLayers recorded;  ///< empty until record()
};
/// Opens the model and the split over `data`, and checks run.units. No long work yet. Warns of
/// parts of the split that are too small for a correlation.
Probe open_probe(Workplace& place, std::shared_ptr<const DataSet> data);
/// Stage 1: the activations of every layer.
void record(Workplace& place, Probe& probe, StageClock& clock);

/// How units are explained and scored. Labeler and simulator are attached and may be one object.
struct Method {
  Named<ConceptLabeler> labeler;
  Named<SparseSolver> solver;   ///< no object: `given` holds the explanations
  std::filesystem::path given;  ///< their file
  ExplanationFile given_explanations;
  Named<ConceptLabeler> simulator;
  std::vector<Named<Evaluator>> evaluators;
};
/// Checks that labeler and simulator fit the probe and that the labeler's concepts are ones to
/// explain with: named apart, in UTF-8, and (where the solver asks for presence) at least one of
/// them not the same on all training images. Throws Error(input). Labelers look at images here.
void check_method(const Probe& probe, const Method& method, StageClock& clock);

/// How the loop over layers works.
struct LoopOptions {
  const RunCluster& cluster;
  std::filesystem::path folder = {};  ///< of the journals
  std::string key = {};               ///< run_key()
  std::string units = {};             ///< run.units
  bool resume = true;
};
struct LoopResult {
  ExplanationFile file;
  /// A solver's own numbers, by layer.
  std::map<std::string, std::map<std::string, double>> figures;
  std::vector<std::filesystem::path> journals;  ///< to remove once the result is stored
};
/// The loop: explains (or takes from `given`) and scores the units of every layer of the probe, in
/// its order. Finished blocks of an interrupted run with the same key are not solved again. Throws
/// Error(input) where `given` explains none of the layers.
LoopResult run_layers(const Probe& probe, const Method& method, const LoopOptions& options,
                      const PluginContext& context, StageClock& clock);

/// linex explain: everything but printing. Writes run.out.
RunSummary explain_run(PluginRegistry& registry, const Sections& raw);
/// linex evaluate: scores of a file of explanations. Writes run.out.
RunSummary evaluate_run(PluginRegistry& registry, const Sections& raw,
                        const std::filesystem::path& explanation_file);

/// Why correlations over these parts mean little or nothing, in one line, or "".
std::string split_complaint(const Split& split);

}  // namespace linex
