// linex report DIR: (re)builds the page of a run from its folder.
#include "core/run/run_stages.hpp"
#include "core/run/summary.hpp"
#include "host/finished_run.hpp"
#include "host/run_commands.hpp"

namespace linex {

int run_report(PluginRegistry& registry, const std::string& folder) {
  const FinishedRun run = read_finished_run(registry, folder);
  Workplace place(registry, run.sections);
  place.claim_out();
  StageClock clock;
  const auto data = place.open_data();
  Source source = open_source(place, data);
  const auto labeler =
      place.has_plugin("labeler") ? place.open_labeler(data) : Named<ConceptLabeler>{};
  const auto simulator = place.open_simulator(data, labeler);
  const auto recorded = record_activations(place, source, clock, false);
  make_report(place, {source,
                      recorded,
                      place.open_split(source.rows(), data.get()),
                      {method_name(place)},
                      {&run.explanations},
                      {simulator.object.get()},
                      read_trust(place.out() / "summary.json")});
  std::printf("%s\n", (place.out() / "report" / "index.html").c_str());
  return 0;
}

}  // namespace linex
