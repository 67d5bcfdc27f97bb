#include "core/run/benchmark.hpp"

#include <algorithm>

#include "core/run/benchmark_page.hpp"
#include "core/run/run.hpp"
#include "core/run/run_key.hpp"
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
};

/// One network, opened, and its activations.
struct OpenNetwork {
  std::string name;
  Workplace& place;
  Probe probe;
};

struct MethodOutcome {
  ExplanationFile file;
  Named<ConceptLabeler> simulator;  ///< for the report
};

Method open_method(Shared& shared, Workplace& place, const OpenNetwork& network,
                   const BenchmarkMethod& asked, const std::string& given,
                   const Sections& sections) {
  const auto& data = network.probe.data;
  Method method;
  if (place.has_plugin("labeler")) method.labeler = shared.labeler(place, sections, data);
  method.simulator = shared.simulator(place, sections, data, method.labeler);
  method.evaluators = place.open_evaluators();
  if (method.evaluators.empty()) throw usage_error("evaluator.plugin: name at least one evaluator");
  if (!method.simulator.object)
    throw usage_error("[method " + asked.name +
                      "]: a file of explanations needs a labeler or a [simulator] to be scored");
  method.given = given;
  if (given.empty())
    method.solver = place.open_solver();
  else
    method.given_explanations = read_explanations(given);
  return method;
}

/// Explanations with scores of one method on one network, from an earlier run where its key fits.
/// `given` is the file of its explanations, or "" and its solver finds them.
MethodOutcome run_method(Shared& shared, const OpenNetwork& network, const BenchmarkMethod& asked,
                         const std::string& given, const Sections& sections) {
  Workplace& place = shared.open(sections);
  const Probe& probe = network.probe;
  StageClock clock;
  Method method = open_method(shared, place, network, asked, given, sections);
  check_method(probe, method, clock);
  MethodOutcome outcome{{}, method.simulator};

  LoopOptions options{place.cluster()};
  options.folder = place.out();
  options.units = place.options("run").text("units");
  options.resume = place.options("run").flag("resume");
  options.key =
      run_key(place, {probe.data, probe.split, method.labeler, method.simulator, method.given});
  std::string key = options.key;
  for (std::size_t l = 0; l < probe.source.layers.size(); ++l)
    key = layer_key(key, probe.source.layers[l], probe.recorded.digests[l]);
  const fs::path result = options.folder / "explanations.csv", done = options.folder / "done";
  // Files of a benchmark are rank 0's, and so is what depends on them.
  if (place.cluster().agreed(place.leads() && options.resume && fs::exists(result) &&
                             fs::exists(done) && trim(read_file(done)) == key)) {
    if (place.leads()) outcome.file = read_explanations(result);
    return outcome;
  }

  place.prepare_out();
  // Texts embedded together round together. A simulator that remembers none of an earlier method's
  // texts gives a resumed benchmark the same bytes.
  method.simulator = place.has_plugin("simulator")
                         ? place.open_simulator(probe.data, method.labeler)
                         : place.open_labeler(probe.data);
  const auto found = run_layers(probe, method, options, place.context(), clock);
  if (!place.leads()) return outcome;
  write_explanations(result, found.file);
  write_file_atomic(done, key + "\n");
  for (const auto& journal : found.journals) fs::remove(journal);
  // Read back, so that a resumed run sees the very numbers of an unbroken one.
  outcome.file = read_explanations(result);
  return outcome;
}

void add_runs(std::vector<BenchmarkRun>& runs, const OpenNetwork& network,
              const std::string& method, const ExplanationFile& file) {
  const bool several = network.probe.source.layers.size() > 1;
  for (const auto& layer : network.probe.source.layers) {
    auto rows = select_rows(file, layer, !several);
    runs.push_back({method, several ? network.name + " " + layer : network.name,
                    std::move(rows.explanations), std::move(rows.scores)});
  }
}

OpenNetwork open_network(Shared& shared, const BenchmarkNetwork& network, const Sections& sections,
                         StageClock& clock) {
  Workplace& place = shared.open(sections);
  OpenNetwork open{network.name, place, open_probe(place, shared.data(place, sections))};
  place.prepare_out();
  record(place, open.probe, clock);
  return open;
}

}  // namespace

BenchmarkOutcome benchmark_run(PluginRegistry& registry, const BenchmarkConfiguration& raw) {
  const BenchmarkPlan plan = plan_benchmark(raw);
  // Only [run]: plugins may have options that just networks and methods give.
  const auto run = plan.base.find("run");
  Workplace overall(registry, run == plan.base.end() ? Sections{} : Sections{*run});
  const fs::path out = overall.out();
  overall.claim_out();
  if (overall.leads()) write_file_atomic(out / "benchmark.ini", to_ini(registry, raw));
  // Every configuration is checked before the first hour of work.
  for (const auto& network : plan.networks)
    for (const auto& method : plan.methods) {
      Workplace(registry, sections_of(plan, network, method, out));
      if (!method.file.empty()) read_explanations(file_of(method, network));
    }

  Shared shared(registry);
  StageClock clock;
  std::vector<BenchmarkRun> runs;
  std::map<std::string, std::string> reports;  // page by network of the table
  const auto total = static_cast<std::int64_t>(plan.networks.size() * plan.methods.size());
  const auto progress = overall.context().progress("benchmark", total, "runs");
  for (const auto& network : plan.networks) {
    const OpenNetwork open = open_network(shared, network, sections_of(plan, network, out), clock);
    std::vector<MethodOutcome> outcomes;
    const std::size_t first_run = runs.size();
    for (const auto& method : plan.methods) {
      check_cancelled(overall.context());
      outcomes.push_back(run_method(shared, open, method, file_of(method, network),
                                    sections_of(plan, network, method, out)));
      if (overall.leads()) add_runs(runs, open, method.name, outcomes.back().file);
      progress->advance(1);
    }
    ReportParts parts{open.probe.source, open.probe.recorded, open.probe.split, {}, {}, {}};
    for (std::size_t m = 0; m < outcomes.size(); ++m) {
      parts.methods.push_back(plan.methods[m].name);
      parts.files.push_back(&outcomes[m].file);
      parts.simulators.push_back(outcomes[m].simulator.object.get());
    }
    clock.time("report", [&] { make_report(open.place, parts); });
    const std::string page = network.name + "/report/index.html";
    for (std::size_t i = first_run; i < runs.size() && fs::exists(out / page); ++i)
      reports[runs[i].network] = page;
  }

  if (!overall.leads()) return {{}, out};
  BenchmarkTable table = make_benchmark_table(runs);
  write_file_atomic(out / "benchmark.md", to_markdown(table));
  write_file_atomic(out / "benchmark.csv", to_csv(table));
  write_file_atomic(out / "benchmark.json", to_json(table));
  write_file_atomic(out / "index.html", benchmark_page(table, reports));
  return {std::move(table), out};
}

}  // namespace linex
