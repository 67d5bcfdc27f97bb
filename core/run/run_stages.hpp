// What explain, evaluate, activations and concepts share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/report/report.hpp"
#include "core/run/stage_clock.hpp"
#include "core/run/unit_basis.hpp"
#include "core/run/workplace.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

/// Where activations come from: a network over a data set, or a recorded matrix.
struct Source {
  Named<TargetModel> model;
  std::shared_ptr<const DataSet> data;  ///< null for recorded activations without images
  std::vector<std::string> layers;
  Pool pool = Pool::avg;
  torch::Tensor recorded;  ///< (N, K), with a basis the layer's raw output, or undefined
  /// Of recorded activations; the layers of a network have theirs inside them. May be null.
  std::shared_ptr<UnitBasis> basis;

  std::int64_t rows() const { return recorded.defined() ? recorded.size(0) : data->size(); }
  /// Checks run.units against every layer before long work: runs one image through the network.
  void check_units(const std::string& units) const;
};

/// Opens the model and finds its layers; for `?` prints them and throws Finished. With a basis of
/// [units] layers are LAYER@STEM; one image is run to see that it fits them. Throws Error(usage)
/// where a network has no data set, Error(input) for a basis of another width or whose units on all
/// rows are beyond run.memory.
Source open_source(Workplace& place, const std::shared_ptr<const DataSet>& data);

/// Throws Error(input) where the labeler knows another number of rows than the source.
void check_rows(const Source& source, const Named<ConceptLabeler>& labeler);

struct RecordedLayers {
  std::vector<torch::Tensor> layers;  ///< float32 (N, K), one a layer of the source
  std::vector<std::string> digests;   ///< of what each holds; empty until record()
  torch::Tensor logits;               ///< (N, classes) where asked for and the network has them
};
/// Stage 1; adds "activations" to the clock.
RecordedLayers record_activations(Workplace& place, const Source& source, StageClock& clock,
                                  bool logits);

/// Appends one layer's explanations and scores to a file.
void append_layer(ExplanationFile& file, const std::string& layer,
                  const std::vector<Explanation>& explanations,
                  const std::vector<ScoreColumn>& scores);

/// Explanations of `layer` in a file. Rows that name no layer, or (`only`: the run has one layer)
/// any single other layer, are taken as this layer's.
std::vector<Explanation> select_layer(const ExplanationFile& file, const std::string& layer,
                                      bool only);

/// The same rows with their scores.
ReportMethod select_rows(const ExplanationFile& file, const std::string& layer, bool only);

/// "SOLVER over LABELER" as configured; "explanations" where the run has no labeler.
std::string method_name(const Workplace& place);

/// What a report shows of a run, apart from options and warnings. Lends everything it is given.
struct ReportParts {
  const Source& source;
  const RecordedLayers& recorded;
  Split split;
  std::vector<std::string> methods;           ///< names
  std::vector<const ExplanationFile*> files;  ///< one a method
  std::vector<ConceptLabeler*> simulators;    ///< one a method; may be null
  std::vector<std::string> trust = {};        ///< further facts of the page
};
/// Writes report/ as run.report says.
void make_report(Workplace& place, const ReportParts& parts);

/// Writes summary.json and, where there are explanations, the report.
void finish_run(Workplace& place, RunSummary& summary, StageClock& clock,
                const ReportParts* parts = nullptr);
/// Positions of the `count` explanations with the highest test correlation, best first.
std::vector<std::size_t> best_explained(const RunSummary& summary, std::size_t count);

}  // namespace linex
