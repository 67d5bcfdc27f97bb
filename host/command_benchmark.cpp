// linex benchmark: several methods on several networks, one table.
//
//   [network NAME]  plugin, layer, pool and the model plugin's options; data.KEY overrides [data]
//   [method NAME]   file = FILE.csv, or labeler = PLUGIN and solver = PLUGIN with their options as
//                   labeler.KEY and solver.KEY, its own simulator too; "{network}" in a value is
//                   the network's name
//
// --world needs no configuration: five methods on three networks of the embedded world.
// Everything else is as for explain, and shared: [data], [evaluator], [simulator], [run].
#include <algorithm>
#include <cstdio>

#include "core/run/benchmark_plan.hpp"
#include "core/run/benchmark_table.hpp"
#include "core/run/run_stages.hpp"
#include "core/run/units.hpp"
#include "host/demo/benchmark_world.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

/// Objects that several runs share. Workplaces own loggers and settings that plugins refer to, so
/// they are kept, and kept first.
class Shared {
 public:
  explicit Shared(PluginRegistry& registry) : registry_(registry) {}

  Workplace& open(const Sections& sections) {
    places_.push_back(std::make_unique<Workplace>(registry_, sections));
    return *places_.back();
  }
  std::shared_ptr<const DataSet> data(Workplace& place, const Sections& sections) {
    auto& data = data_[text_of(sections, "data")];
    if (!data) data = place.open_data();
    return data;
  }
  Named<ConceptLabeler> labeler(Workplace& place, const Sections& sections,
                                const std::shared_ptr<const DataSet>& data) {
    auto& labeler = labelers_[text_of(sections, "data") + text_of(sections, "labeler")];
    if (!labeler.object) labeler = place.open_labeler(data);
    return labeler;
  }
  Named<ConceptLabeler> simulator(Workplace& place, const Sections& sections,
                                  const std::shared_ptr<const DataSet>& data,
                                  const Named<ConceptLabeler>& labeler) {
    if (!place.has_plugin("simulator")) return labeler;
    auto& simulator = simulators_[text_of(sections, "data") + text_of(sections, "simulator")];
    if (!simulator.object) simulator = place.open_simulator(data, labeler);
    return simulator;
  }
  /// Digest of every file that the options of plugins name: a list of concepts may change under the
  /// same name.
  std::string contents(const Sections& sections) {
    Sha256 digest;
    for (const char* name : {"labeler", "solver", "simulator", "evaluator"}) {
      const auto found = sections.find(name);
      if (found == sections.end()) continue;
      for (const auto& [key, value] : found->second) {
        std::error_code failure;
        if (value.empty() || !fs::is_regular_file(value, failure)) continue;
        auto& file = files_[value];
        if (file.empty()) file = sha256_of_file(value);
        digest.add(name).add(key).add(file);
      }
    }
    return digest.hex();
  }

 private:
  static std::string text_of(const Sections& sections, const std::string& name) {
    std::string text;
    const auto found = sections.find(name);
    if (found != sections.end())
      for (const auto& [key, value] : found->second) text += key + "=" + value + "\n";
    return text + "\n";
  }

  PluginRegistry& registry_;
  std::vector<std::unique_ptr<Workplace>> places_;
  std::map<std::string, std::shared_ptr<const DataSet>> data_;
  std::map<std::string, Named<ConceptLabeler>> labelers_, simulators_;
  std::map<std::string, std::string> files_;
};

/// One network, opened, and its activations.
struct OpenNetwork {
  std::string name;
  Workplace& place;
  std::shared_ptr<const DataSet> data;
  Source source;
  RecordedLayers recorded;
  Split split;
};

struct MethodOutcome {
  ExplanationFile file;
  Named<ConceptLabeler> simulator;  ///< for the report
};

std::string digest_of(const torch::Tensor& tensor) {
  const auto dense = tensor.contiguous();
  return Sha256().add(dense.data_ptr(), dense.nbytes()).hex();
}

/// Explanations with scores of one method on one network, from an earlier run where its key fits.
/// `given_file` holds its explanations, or is empty and its solver finds them.
MethodOutcome run_method(Shared& shared, const OpenNetwork& network, const BenchmarkMethod& method,
                         const std::string& given_file, const Sections& sections) {
  Workplace& place = shared.open(sections);
  MethodOutcome outcome;
  Named<ConceptLabeler> labeler;
  if (place.has_plugin("labeler")) labeler = shared.labeler(place, sections, network.data);
  outcome.simulator = shared.simulator(place, sections, network.data, labeler);
  const auto evaluators = place.open_evaluators();
  if (evaluators.empty()) throw usage_error("evaluator.plugin: name at least one evaluator");
  if (!outcome.simulator.object)
    throw usage_error("[method " + method.name +
                      "]: a file of explanations needs a labeler or a [simulator] to be scored");
  check_rows(network.source, outcome.simulator);

  Named<SparseSolver> solver;
  ExplanationFile given;
  if (given_file.empty())
    solver = place.open_solver();
  else
    given = read_explanations(given_file);
  Sha256 digest;
  digest.add(place.digest()).add(network.data ? network.data->fingerprint() : "");
  digest.add(shared.contents(sections));
  if (!given_file.empty()) digest.add(sha256_of_file(given_file));
  for (const auto& layer : network.recorded.layers) digest.add(digest_of(layer));
  const std::string key = digest.hex();

  const fs::path folder = place.out(), result = folder / "explanations.csv", done = folder / "done";
  if (place.options("run").flag("resume") && fs::exists(result) && fs::exists(done) &&
      trim(read_file(done)) == key) {
    outcome.file = read_explanations(result);
    return outcome;
  }

  place.prepare_out();
  // Texts embedded together round together. A simulator that remembers none of an earlier method's
  // texts gives a resumed benchmark the same bytes.
  const auto simulator = place.has_plugin("simulator") ? place.open_simulator(network.data, labeler)
                                                       : place.open_labeler(network.data);
  StageClock clock;
  RunSummary summary;
  ExplanationFile file;
  std::vector<fs::path> journals;
  for (std::size_t l = 0; l < network.source.layers.size(); ++l) {
    LayerJob job{network.source.model,
                 network.data,
                 network.source.layers[l],
                 network.source.pool,
                 network.recorded.layers[l],
                 {},
                 network.split};
    job.units = parse_units(place.options("run").text("units"), job.activations.size(1));
    std::vector<Explanation> explanations;
    if (given_file.empty()) {
      journals.push_back(folder / ("explanations." + job.layer + ".journal"));
      explanations =
          explain(job, labeler, solver, journals.back(), key + job.layer,
                  place.options("run").flag("resume"), place.context(), clock, summary.figures);
    } else {
      for (auto& explanation : select_layer(given, job.layer, network.source.layers.size() == 1))
        if (std::binary_search(job.units.begin(), job.units.end(), explanation.unit))
          explanations.push_back(std::move(explanation));
    }
    append_layer(file, job.layer, explanations,
                 evaluate(job, explanations, simulator, evaluators, clock));
  }
  if (file.explanations.empty())
    throw input_error(given_file + " holds no explanation of " + join(network.source.layers, ", ") +
                      " of the network '" + network.name + "'");
  write_explanations(result, file);
  write_file_atomic(done, key + "\n");
  for (const auto& journal : journals) fs::remove(journal);
  // Read back, so that a resumed run sees the very numbers of an unbroken one.
  outcome.file = read_explanations(result);
  return outcome;
}

void add_runs(std::vector<BenchmarkRun>& runs, const OpenNetwork& network,
              const std::string& method, const ExplanationFile& file) {
  const bool several = network.source.layers.size() > 1;
  for (const auto& layer : network.source.layers) {
    auto rows = select_rows(file, layer, !several);
    runs.push_back({method, several ? network.name + " " + layer : network.name,
                    std::move(rows.explanations), std::move(rows.scores)});
  }
}

OpenNetwork open_network(Shared& shared, const BenchmarkNetwork& network, const Sections& sections,
                         StageClock& clock) {
  Workplace& place = shared.open(sections);
  const auto data = shared.data(place, sections);
  Source source = open_source(place, data);
  const Split split = place.open_split(source.rows());
  source.check_units(place.options("run").text("units"));
  place.prepare_out();
  auto recorded = record_activations(place, source, clock, false);
  return {network.name, place, data, std::move(source), std::move(recorded), split};
}

}  // namespace

int run_benchmark(PluginRegistry& registry, const BenchmarkConfiguration& given, bool world) {
  const BenchmarkConfiguration raw = world ? world_benchmark(registry, given.sections) : given;
  const BenchmarkPlan plan = plan_benchmark(raw);
  // Only [run]: plugins may have options that just networks and methods give.
  const auto run = plan.base.find("run");
  Workplace overall(registry, run == plan.base.end() ? Sections{} : Sections{*run});
  const fs::path out = overall.out();
  overall.claim_out();
  write_file_atomic(out / "benchmark.ini", to_ini(registry, raw));
  // Every configuration is checked before the first hour of work.
  for (const auto& network : plan.networks)
    for (const auto& method : plan.methods) {
      Workplace(registry, sections_of(plan, network, method, out));
      if (!method.file.empty()) read_explanations(file_of(method, network));
    }

  Shared shared(registry);
  StageClock clock;
  std::vector<BenchmarkRun> runs;
  const auto total = static_cast<std::int64_t>(plan.networks.size() * plan.methods.size());
  const auto progress = overall.context().progress("benchmark", total, "runs");
  for (const auto& network : plan.networks) {
    const OpenNetwork open = open_network(shared, network, sections_of(plan, network, out), clock);
    std::vector<MethodOutcome> outcomes;
    for (const auto& method : plan.methods) {
      check_cancelled(overall.context());
      outcomes.push_back(run_method(shared, open, method, file_of(method, network),
                                    sections_of(plan, network, method, out)));
      add_runs(runs, open, method.name, outcomes.back().file);
      progress->advance(1);
    }
    ReportParts parts{open.source, open.recorded, open.split, {}, {}, {}};
    for (std::size_t m = 0; m < outcomes.size(); ++m) {
      parts.methods.push_back(plan.methods[m].name);
      parts.files.push_back(&outcomes[m].file);
      parts.simulators.push_back(outcomes[m].simulator.object.get());
    }
    clock.time("report", [&] { make_report(open.place, parts); });
  }

  const BenchmarkTable table = make_benchmark_table(runs);
  write_file_atomic(out / "benchmark.md", to_markdown(table));
  write_file_atomic(out / "benchmark.csv", to_csv(table));
  write_file_atomic(out / "benchmark.json", to_json(table));
  std::printf(
      "%swritten to %s: benchmark.md, benchmark.csv, benchmark.json, a report for each "
      "network\n",
      to_terminal(table).c_str(), out.c_str());
  return 0;
}

}  // namespace linex
