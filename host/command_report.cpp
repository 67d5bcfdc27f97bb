// linex report DIR: (re)builds the page of a run from its folder.
#include "core/run/run_stages.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

Sections read_configuration(PluginRegistry& registry, const fs::path& folder) {
  const CommandSyntax syntax{"report", "", {}, {}, true};
  return parse_arguments(
             syntax, {"--config=" + (folder / "run.ini").string(), "--run.out=" + folder.string()},
             [&](const Sections& first) { return known_keys(registry, first); })
      .sections;
}

}  // namespace

int run_report(PluginRegistry& registry, const std::string& folder) {
  const fs::path file = fs::path(folder) / "explanations.csv";
  if (!fs::exists(fs::path(folder) / "run.ini") || !fs::exists(file))
    throw input_error(folder +
                      " holds no finished run (run.ini and explanations.csv); name the run.out of "
                      "linex explain or evaluate");
  ExplanationFile explanations = read_explanations(file);
  explanations.sanity = read_sanity(fs::path(folder) / "summary.json");
  Workplace place(registry, read_configuration(registry, folder));
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
                      {&explanations},
                      {simulator.object.get()}});
  std::printf("%s\n", (place.out() / "report" / "index.html").c_str());
  return 0;
}

}  // namespace linex
