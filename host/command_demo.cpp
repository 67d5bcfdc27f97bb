// linex demo: the whole of linex on a world that needs no file and no network connection.
#include <algorithm>
#include <cstdio>

#include "core/report/report.hpp"
#include "core/run/outcome.hpp"
#include "core/run/run.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_methods.hpp"
#include "host/demo/world_milan.hpp"
#include "host/demo/world_sae.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/concept_texts.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

namespace {

namespace fs = std::filesystem;

/// The sections every method shares.
Sections common_sections(const Sections& raw, const fs::path& world, const fs::path& network,
                         const fs::path& out) {
  Sections sections = raw;
  sections["run"]["out"] = out.string();
  sections["data"] = {{"root", (world / "images").string()}};
  sections["model"] = world_model(NetworkKind::resnet, network);
  sections["evaluator"] = {{"plugin", "simulation_correlation"}};
  return sections;
}

Sections sections_of(const WorldMethod& method, const Sections& common, const fs::path& out) {
  Sections sections = common;
  sections["run"]["out"] = (out / method.folder).string();
  sections["labeler"] = method.labeler;
  sections["solver"] = method.solver;
  if (!method.simulator.empty()) sections["simulator"] = method.simulator;
  return sections;
}

/// Share of the pictures whose class the network names.
double accuracy(Workplace& place) {
  const auto data = place.open_data();
  const Source source = open_source(place, data);
  StageClock clock;
  const auto recorded = record_activations(place, source, clock, true);
  const auto labels = torch::tensor(data->labels(), torch::kInt64);
  return recorded.logits.argmax(1).eq(labels).to(torch::kFloat64).mean().item<double>();
}

double mean_length(const RunSummary& summary) {
  std::vector<double> lengths;
  for (const auto& explanation : summary.explanations)
    if (explanation.status == Status::ok)
      // A sentence is one description.
      lengths.push_back(std::max(1.0, static_cast<double>(concept_count(explanation))));
  return mean_sem(lengths).mean;
}

void print_row(const WorldMethod& method, const RunSummary& summary) {
  const MeanSem score = mean_sem(summary.test_correlation);
  std::printf("  %-18s %-30s %.3f ± %.3f  %5lld  %6.1f\n", method.name.c_str(),
              method.concepts.c_str(), score.mean, score.sem, static_cast<long long>(score.n),
              mean_length(summary));
}

void print_best(const WorldMethod& method, const RunSummary& summary) {
  std::printf("\nbest explained by %s (correlation on unseen pictures):\n", method.name.c_str());
  for (const auto i : best_explained(summary, 5)) std::fputs(unit_text(summary, i).c_str(), stdout);
}

/// Explains by the methods named, one row each.
void print_rows(PluginRegistry& registry, const Sections& sections, const fs::path& out,
                const MethodFiles& files, const std::vector<std::string>& folders) {
  for (const auto& method : world_methods(files)) {
    if (std::find(folders.begin(), folders.end(), method.folder) == folders.end()) continue;
    print_row(method, explain_run(registry, sections_of(method, sections, out)));
    std::fflush(stdout);
  }
}

/// Trains a network of another kind and explains it by the methods named, one row each.
void explain_network(PluginRegistry& registry, const Sections& common,
                     const WorldNetworkOptions& options, const MethodFiles& files,
                     const std::vector<std::string>& folders) {
  const NetworkKind kind = options.train.kind;
  Sections sections = common;
  const fs::path out = fs::path(common.at("run").at("out")) / to_string(kind);
  sections["run"]["out"] = out.string();
  const Workplace setup(registry, common);
  std::printf("\nThe same for a small %s:\n", kind == NetworkKind::vgg ? "VGG" : "ViT");
  std::fflush(stdout);
  sections["model"] =
      world_model(kind, world_network(options, common.at("run").at("cache"), setup.context()));
  {
    Workplace place(registry, sections);
    std::printf("It names the class of %.0f %%. Layer %s:\n", 100 * accuracy(place),
                sections["model"]["layer"].c_str());
  }
  print_rows(registry, sections, out, files, folders);
}

/// Trains a sparse autoencoder of the network's layer and explains its latents.
void explain_latents(PluginRegistry& registry, const Sections& common, const WorldOptions& pictures,
                     const MethodFiles& files) {
  Sections sections = common;
  const fs::path out = fs::path(common.at("run").at("out")) / "latents";
  sections["run"]["out"] = out.string();
  const std::string layer = common.at("model").at("layer");
  const SaeOptions options;
  {
    Workplace place(registry, common);
    const Source source = open_source(place, place.open_data());
    const WorldSae sae = world_sae(*source.model.object, layer, pictures, options,
                                   common.at("run").at("cache"), place.context());
    sections["units"]["basis"] = sae.folder.string();
    std::printf(
        "\nA sparse autoencoder of %s: %lld latents, %lld active at a position, keeps "
        "%.0f %% of the variance. Layer %s@sae:\n",
        layer.c_str(), static_cast<long long>(options.latents), static_cast<long long>(options.k),
        100 * sae.explained, layer.c_str());
    std::fflush(stdout);
  }
  print_rows(registry, sections, out, files, {"label", "siglip", "attributes"});
}

/// Only [run] makes sense here; the rest of the configuration is the demo.
void check_sections(const Sections& raw) {
  for (const auto& [name, keys] : raw)
    if (name != "run" && !keys.empty())
      throw usage_error("linex demo chooses its own " + name + "; --" + name + "." +
                        keys.begin()->first + " is for linex explain");
}

}  // namespace

int run_demo(PluginRegistry& registry, const Sections& raw, const DemoOptions& options) {
  check_sections(raw);
  Sections quiet = raw;
  // One table instead of each run's own messages.
  quiet["run"].emplace("log-level", "warning");
  Workplace setup(registry, quiet);
  const fs::path out = setup.out();
  // Methods share one cache, so that the network sees each picture once.
  const fs::path cache = setup.settings().cache.empty() ? out / "cache" : setup.settings().cache;
  quiet["run"]["cache"] = cache.string();

  setup.claim_out();
  WorldOptions pictures;
  pictures.seed = setup.settings().seed;
  WorldNetworkOptions network;
  WorldMilanOptions milan;
  if (options.quick) {
    milan.units = 92;
    milan.epochs = 5;
    pictures.images = 400;
    network.world.images = 400;
    network.train.epochs = 2;
  }
  const World world(pictures);
  write_world(world, out / "world", {true, setup.settings().threads});
  std::printf("The embedded world: %lld pictures such as \"%s\".\n",
              static_cast<long long>(world.size()), world.caption(world.size() / 2).c_str());
  std::fflush(stdout);
  MethodFiles files{out / "world", {}, {}, {}};
  write_texts(world, files.world);
  if (has_sentencepiece())
    files.siglip = options.train_siglip ? train_world_siglip({}, cache, setup.context())
                                        : world_siglip(out / "siglip");
  std::printf(
      "A small ResNet now learns to name the shapes on %lld others; then MILAN, to speak.\n",
      static_cast<long long>(network.world.images));
  std::fflush(stdout);
  const Sections common =
      common_sections(quiet, files.world, world_network(network, cache, setup.context()), out);
  Workplace place(registry, common);
  std::printf("It names the class of %.0f %% of the pictures, which it has not seen before.\n\n",
              100 * accuracy(place));
  std::fflush(stdout);

  {
    const Source source = open_source(place, place.open_data());
    files.milan = world_milan(*source.model.object, milan, cache, setup.context());
  }

  std::printf("  %-18s %-30s %-13s  %5s  %6s\n", "method", "concepts", "correlation", "units",
              "length");
  std::vector<RunSummary> summaries;
  const auto all = world_methods(files);
  if (!files.siglip) std::printf("  (without SigLIP: SentencePiece cannot be loaded here)\n");
  for (const auto& method : all) {
    summaries.push_back(explain_run(registry, sections_of(method, common, out)));
    print_row(method, summaries.back());
    std::fflush(stdout);
  }
  explain_latents(registry, common, network.world, files);
  for (const NetworkKind kind : {NetworkKind::vgg, NetworkKind::vit}) {
    WorldNetworkOptions other{network.world, train_options(kind)};
    if (options.quick) other.train.epochs = 2;
    explain_network(registry, common, other, files, {"label", "attributes"});
  }
  for (std::size_t m = 0; m < all.size(); ++m)
    for (const char* shown : {"label", "siglip", "attributes"})
      if (all[m].folder == shown) print_best(all[m], summaries[m]);
  const fs::path shown = out / (files.siglip ? "siglip" : "label");
  std::printf(
      "\nEach run is in %s/<method>. Open in a browser, a card for each unit:\n  %s\n"
      "The same again, and a start for changes of your own:\n  linex explain --config %s\n",
      out.c_str(), (shown / "report/index.html").c_str(), (shown / "run.ini").c_str());
  return 0;
}

}  // namespace linex
