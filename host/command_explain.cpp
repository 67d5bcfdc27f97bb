// linex explain: data -> activations -> concepts -> explanations -> scores -> files.
#include <set>

#include "core/run/run_stages.hpp"
#include "core/run/units.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

namespace {

/// The solver's own validation aside, concept names must be text that files can hold.
void check_names(const Named<ConceptLabeler>& labeler) {
  const auto names = labeler.object->concepts();
  if (names.empty())
    throw input_error(labeler.name + ": it names no concept; give it a list with at least one");
  for (std::size_t j = 0; j < names.size(); ++j)
    if (!is_utf8(names[j]))
      throw input_error(labeler.name + ": the name of concept " + std::to_string(j) +
                        " is not UTF-8");
}

/// Column "sim correlation" where an evaluator gives it: the test correlation of summary.json.
std::vector<double> test_correlations(const std::vector<ScoreColumn>& scores) {
  for (const auto& score : scores)
    if (score.name == "sim correlation") return score.value;
  return {};
}

std::string content_digest(const torch::Tensor& tensor) {
  constexpr std::int64_t kRowsAtOnce = 4096;
  const auto data = tensor.contiguous();
  Sha256 digest;
  for (std::int64_t begin = 0; begin < data.size(0); begin += kRowsAtOnce) {
    const auto rows = data.narrow(0, begin, std::min(kRowsAtOnce, data.size(0) - begin));
    digest.add(rows.data_ptr(), rows.nbytes());
    release_rows(data, begin, rows.size(0));
  }
  return digest.hex();
}

/// Says what a reader of the scores would not expect: rows left out, units that count twice.
void warn_of_rows(const ExplanationFile& given, const ExplanationFile& scored,
                  const std::string& path, Logger& log) {
  const std::size_t left_out = given.explanations.size() - scored.explanations.size();
  if (left_out > 0)
    log.warning(path + ": " + std::to_string(left_out) + " of " +
                std::to_string(given.explanations.size()) +
                " explanations are of other layers and left out");
  std::set<std::pair<std::string, std::int64_t>> units;
  for (std::size_t i = 0; i < scored.explanations.size(); ++i)
    units.emplace(scored.layers[i], scored.explanations[i].unit);
  const std::size_t repeated = scored.explanations.size() - units.size();
  if (repeated > 0)
    log.warning(path + ": " + std::to_string(repeated) +
                " rows explain a unit that has a row already; every row is scored and counts in "
                "the means");
}

RunSummary explain_in(Workplace& place) {
  StageClock clock;
  const auto data = place.open_data();
  Source source = open_source(place, data);
  const auto labeler = place.open_labeler(data);
  check_names(labeler);
  const auto solver = place.open_solver();
  const auto evaluators = place.open_evaluators();
  const auto simulator = place.open_simulator(data, labeler);
  // A labeler that looks at images does so here.
  clock.time("concepts", [&] { check_rows(source, labeler); });
  const Split split = place.open_split(source.rows());
  source.check_units(place.options("run").text("units"));
  place.prepare_out();

  const auto activations = record_activations(place, source, clock, false);
  ExplanationFile file;
  RunSummary summary;
  std::vector<std::filesystem::path> journals;
  for (std::size_t l = 0; l < source.layers.size(); ++l) {
    LayerJob job{source.model, data, source.layers[l], source.pool, activations.layers[l],
                 {},           split};
    job.units = parse_units(place.options("run").text("units"), job.activations.size(1));
    const std::string key = Sha256()
                                .add(place.digest())
                                .add(job.layer)
                                .add(content_digest(job.activations))
                                .add(data ? data->fingerprint() : "")
                                .hex();
    journals.push_back(place.out() / ("explanations." + source.layers[l] + ".journal"));
    const auto explanations =
        explain(job, labeler, solver, journals.back(), key, place.options("run").flag("resume"),
                place.context(), clock, summary.figures);
    const auto scores = evaluate(job, explanations, simulator, evaluators, clock);
    append_layer(file, job.layer, explanations, scores);
  }

  write_explanations(place.out() / "explanations.csv", file);
  summary.explanations = file.explanations;
  summary.scores = file.scores;
  summary.test_correlation = test_correlations(file.scores);
  const ReportParts parts{
      source, activations, split, {method_name(place)}, {&file}, {simulator.object.get()}};
  finish_run(place, summary, clock, &parts);
  for (const auto& journal : journals) std::filesystem::remove(journal);
  return summary;
}

}  // namespace

RunSummary explain_run(PluginRegistry& registry, const Sections& raw) {
  Workplace place(registry, raw);
  return explain_in(place);
}

int run_explain(PluginRegistry& registry, const Sections& raw) {
  Workplace place(registry, raw);
  print_outcome(place, explain_in(place));
  return 0;
}

int run_evaluate(PluginRegistry& registry, const Sections& raw,
                 const std::string& explanation_file) {
  StageClock clock;
  if (explanation_file.empty()) throw usage_error("linex evaluate needs --explanations FILE.csv");
  const ExplanationFile given = read_explanations(explanation_file);
  Workplace place(registry, raw);
  const auto data = place.open_data();
  Source source = open_source(place, data);
  const auto simulator = place.open_simulator(
      data, place.has_plugin("simulator") ? Named<ConceptLabeler>{} : place.open_labeler(data));
  const auto evaluators = place.open_evaluators();
  if (evaluators.empty()) throw usage_error("evaluator.plugin: name at least one evaluator");
  clock.time("concepts", [&] { check_rows(source, simulator); });
  const Split split = place.open_split(source.rows());
  place.prepare_out();

  const auto activations = record_activations(place, source, clock, false);
  ExplanationFile file;
  for (std::size_t l = 0; l < source.layers.size(); ++l) {
    LayerJob job{source.model, data, source.layers[l], source.pool, activations.layers[l],
                 {},           split};
    const auto explanations = select_layer(given, job.layer, source.layers.size() == 1);
    append_layer(file, job.layer, explanations,
                 evaluate(job, explanations, simulator, evaluators, clock));
  }
  if (file.explanations.empty())
    throw input_error(explanation_file + " holds no explanation of the layer " +
                      join(source.layers, ", "));
  warn_of_rows(given, file, explanation_file, place.log());
  write_explanations(place.out() / "explanations.csv", file);
  RunSummary summary;
  summary.explanations = file.explanations;
  summary.scores = file.scores;
  summary.test_correlation = test_correlations(file.scores);
  const ReportParts parts{source,  activations,
                          split,   {std::filesystem::path(explanation_file).stem().string()},
                          {&file}, {simulator.object.get()}};
  finish_run(place, summary, clock, &parts);
  print_outcome(place, summary);
  return 0;
}

}  // namespace linex
