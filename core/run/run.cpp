#include "core/run/run.hpp"
#include "core/run/outcome.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/run/input_digests.hpp"
#include "core/run/run_key.hpp"
#include "core/run/units.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

/// Concept names must be text that files can hold, and tell concepts apart: explanations are
/// simulated by name.
void check_names(const Named<ConceptLabeler>& labeler) {
  const auto names = labeler.object->concepts();
  if (names.empty())
    throw input_error(labeler.name + ": it names no concept; give it a list with at least one");
  std::map<std::string, std::size_t> known;
  for (std::size_t j = 0; j < names.size(); ++j) {
    if (!is_utf8(names[j]))
      throw input_error(labeler.name + ": the name of concept " + std::to_string(j) +
                        " is not UTF-8");
    const auto [other, fresh] = known.emplace(names[j], j);
    if (!fresh)
      throw input_error(labeler.name + ": concepts " + std::to_string(other->second) + " and " +
                        std::to_string(j) + " are both called '" + printable(names[j]) +
                        "'; their explanations could not be told apart");
  }
}

/// Ends at the first concept that varies, which is almost always in the first tile.
bool any_concept_varies(const Presence& presence, const Rows& rows, int threads) {
  const std::int64_t cols = presence.cols(), n = static_cast<std::int64_t>(rows.size());
  if (cols == 0 || n < 2) return false;
  constexpr std::int64_t kTileRows = 256, kTileValues = std::int64_t{1} << 24;
  const std::int64_t tile_rows = std::clamp<std::int64_t>(kTileValues / cols, 2, kTileRows);
  // The same image embedded twice differs by rounding, and a steep sigmoid enlarges it.
  const auto same = [](float a, float b) {
    return std::fabs(a - b) <= 5e-5F * std::max(std::fabs(a), std::fabs(b));
  };
  const RowSource source = presence_rows(presence, all_columns(cols));
  std::vector<float> first, tile(static_cast<std::size_t>(std::min(n, tile_rows) * cols));
  for (std::int64_t begin = 0; begin < n; begin += tile_rows) {
    const std::int64_t count = std::min(tile_rows, n - begin);
    read_tile(source, rows, begin, count, threads, tile.data());
    if (first.empty()) first.assign(tile.begin(), tile.begin() + cols);
    for (std::int64_t i = 0; i < count; ++i)
      if (!std::equal(first.begin(), first.end(), tile.begin() + i * cols, same)) return true;
  }
  return false;
}

void check_presence(const Probe& probe, const Named<ConceptLabeler>& labeler) {
  const auto presence = labeler.object->presence();
  if (!presence || any_concept_varies(*presence, probe.split.train, 1)) return;
  throw input_error("no concept varies on the training images: each of the " +
                    std::to_string(presence->cols()) + " of " + labeler.name +
                    " is the same on all " + std::to_string(probe.split.train.size()) +
                    "; take images of more kinds, another labeler or another data.split");
}

/// Says what a reader of the scores would not expect: rows left out, units that count twice.
void warn_of_rows(const Method& method, const ExplanationFile& scored, Logger& log) {
  const std::size_t given = method.given_explanations.explanations.size();
  const std::size_t left_out = given - scored.explanations.size();
  if (left_out > 0)
    log.warning(method.given.string() + ": " + std::to_string(left_out) + " of " +
                std::to_string(given) + " explanations are of other layers and left out");
  std::set<std::pair<std::string, std::int64_t>> units;
  for (std::size_t i = 0; i < scored.explanations.size(); ++i)
    units.emplace(scored.layers[i], scored.explanations[i].unit);
  const std::size_t repeated = scored.explanations.size() - units.size();
  if (repeated > 0)
    log.warning(method.given.string() + ": " + std::to_string(repeated) +
                " rows explain a unit that has a row already; every row is scored and counts in "
                "the means");
}

/// The given explanations of a layer; of the units asked for where units are asked for.
std::vector<Explanation> given_of(const Method& method, const LayerJob& job, bool only,
                                  const std::string& units) {
  auto explanations = select_layer(method.given_explanations, job.layer, only);
  if (trim(units).empty()) return explanations;
  const auto unwanted = [&](const Explanation& explanation) {
    return !std::binary_search(job.units.begin(), job.units.end(), explanation.unit);
  };
  explanations.erase(std::remove_if(explanations.begin(), explanations.end(), unwanted),
                     explanations.end());
  return explanations;
}

/// Column "sim correlation" where an evaluator gives it: the test correlation of summary.json.
std::vector<double> test_correlations(const std::vector<ScoreColumn>& scores) {
  for (const auto& score : scores)
    if (score.name == "sim correlation") return score.value;
  return {};
}

/// Writes what a run found, its summary and report.
RunSummary finish(Workplace& place, const Probe& probe, const Method& method, LoopResult&& result,
                  const std::string& name, const std::string& key, StageClock& clock) {
  if (place.leads()) write_explanations(place.out() / "explanations.csv", result.file);
  RunSummary summary;
  summary.out = place.out();
  summary.explanations = result.file.explanations;
  summary.layers = result.file.layers;
  summary.scores = result.file.scores;
  summary.test_correlation = test_correlations(result.file.scores);
  summary.layer_figures = result.figures;
  for (const auto& [layer, figures] : result.figures)
    for (const auto& [figure, value] : figures) summary.figures[figure] = value;
  summary.trust = trust_facts(summary);
  summary.complaint = split_complaint(probe.split);
  summary.provenance["run key"] = key;
  summary.provenance["data"] = probe.data ? probe.data->fingerprint() : "";
  summary.provenance["model"] = probe.source.model.object->fingerprint();
  const ReportParts parts{probe.source, probe.recorded, probe.split,
                          {name},       {&result.file}, {method.simulator.object.get()},
                          summary.trust};
  finish_run(place, summary, clock, &parts);
  if (place.leads())
    for (const auto& journal : result.journals) fs::remove(journal);
  return summary;
}

RunSummary run_method(Workplace& place, Probe& probe, Method& method, const std::string& name,
                      StageClock& clock) {
  check_method(probe, method, clock);
  place.prepare_out();
  record(place, probe, clock);
  LoopOptions options{place.cluster()};
  options.folder = place.out();
  options.key =
      run_key(place, {probe.data, probe.split, method.labeler, method.simulator, method.given});
  options.units = place.options("run").text("units");
  options.resume = place.options("run").flag("resume");
  auto result = run_layers(probe, method, options, place.context(), clock);
  return finish(place, probe, method, std::move(result), name, options.key, clock);
}

}  // namespace

std::string split_complaint(const Split& split) {
  // Two points always lie on a line.
  constexpr std::size_t kLeast = 3;
  if (split.train.size() >= kLeast && split.val.size() >= kLeast && split.test.size() >= kLeast)
    return "";
  return "the split holds " + std::to_string(split.train.size()) + " training, " +
         std::to_string(split.val.size()) + " validation and " + std::to_string(split.test.size()) +
         " test images; a correlation needs " + std::to_string(kLeast) +
         " of each: take more images or another data.split";
}

Probe open_probe(Workplace& place, std::shared_ptr<const DataSet> data) {
  Probe probe;
  probe.data = std::move(data);
  probe.source = open_source(place, probe.data);
  probe.split = place.open_split(probe.source.rows(), probe.data.get());
  probe.source.check_units(place.options("run").text("units"));
  if (const std::string complaint = split_complaint(probe.split); !complaint.empty())
    place.log().warning(complaint);
  return probe;
}

void record(Workplace& place, Probe& probe, StageClock& clock) {
  probe.recorded = record_activations(place, probe.source, clock, false);
  clock.time("digests", [&] {
    // A recorded matrix is what its file holds, which is read for its own digest.
    const bool as_recorded = probe.source.recorded.defined() && !probe.source.basis;
    probe.recorded.digests =
        digest_inputs(place, as_recorded ? std::vector<torch::Tensor>() : probe.recorded.layers);
    if (as_recorded) probe.recorded.digests = {probe.source.model.object->fingerprint()};
  });
}

void check_method(const Probe& probe, const Method& method, StageClock& clock) {
  clock.time("concepts", [&] {
    if (method.solver.object && method.labeler.object) check_names(method.labeler);
    if (method.simulator.object) check_rows(probe.source, method.simulator);
    // A labeler's presence may be long work that only some solvers want.
    if (!method.solver.object || !method.labeler.object || !method.solver.object->needs().presence)
      return;
    check_rows(probe.source, method.labeler);
    check_presence(probe, method.labeler);
  });
}

LoopResult run_layers(const Probe& probe, const Method& method, const LoopOptions& options,
                      const PluginContext& context, StageClock& clock) {
  LoopResult result;
  const auto& layers = probe.source.layers;
  const auto journal_of = [&](const std::string& layer) {
    return options.folder / ("explanations." + layer + ".journal");
  };
  // What a solver adds layer by layer is of an earlier run unless this one goes on.
  if (options.cluster.leads() && method.solver.object &&
      std::none_of(layers.begin(), layers.end(), [&](const auto& layer) {
        return options.resume && fs::exists(journal_of(layer));
      }))
    fs::remove(options.folder / "stability.csv");
  for (std::size_t l = 0; l < layers.size(); ++l) {
    LayerJob job{probe.source.model,       probe.data, layers[l],   probe.source.pool,
                 probe.recorded.layers[l], {},         probe.split, options.cluster};
    job.units = parse_units(options.units, job.activations.size(1));
    std::vector<Explanation> explanations;
    if (method.solver.object) {
      result.journals.push_back(journal_of(job.layer));
      explanations = explain(job, method.labeler, method.solver, result.journals.back(),
                             layer_key(options.key, job.layer, probe.recorded.digests[l]),
                             options.resume, context, clock, result.figures[job.layer]);
    } else {
      explanations = given_of(method, job, layers.size() == 1, options.units);
    }
    append_layer(result.file, job.layer, explanations,
                 evaluate(job, explanations, method.simulator, method.evaluators, clock));
  }
  if (!method.solver.object) {
    if (result.file.explanations.empty())
      throw input_error(method.given.string() + " holds no explanation of the layer " +
                        join(layers, ", "));
    warn_of_rows(method, result.file, context.log());
  }
  return result;
}

RunSummary explain_run(PluginRegistry& registry, const Sections& raw) {
  StageClock clock;
  Workplace place(registry, raw);
  Probe probe = open_probe(place, place.open_data());
  Method method;
  method.labeler = place.open_labeler(probe.data);
  method.solver = place.open_solver();
  method.evaluators = place.open_evaluators();
  method.simulator = place.open_simulator(probe.data, method.labeler);
  return run_method(place, probe, method, method_name(place), clock);
}

RunSummary evaluate_run(PluginRegistry& registry, const Sections& raw,
                        const fs::path& explanation_file) {
  StageClock clock;
  Method method;
  method.given = explanation_file;
  method.given_explanations = read_explanations(explanation_file);
  Workplace place(registry, raw);
  Probe probe = open_probe(place, place.open_data());
  method.simulator = place.open_simulator(probe.data, place.has_plugin("simulator")
                                                          ? Named<ConceptLabeler>{}
                                                          : place.open_labeler(probe.data));
  method.evaluators = place.open_evaluators();
  if (method.evaluators.empty()) throw usage_error("evaluator.plugin: name at least one evaluator");
  return run_method(place, probe, method, explanation_file.stem().string(), clock);
}

}  // namespace linex
