// linex demo: the whole of linex on a world that needs no file and no network connection.
#include <algorithm>
#include <cstdio>

#include "core/report/report.hpp"
#include "core/run/run_stages.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_milan.hpp"
#include "host/demo/world_siglip.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

namespace {

namespace fs = std::filesystem;

/// One line of the demo's table: a method, and the sections that make it.
struct Method {
  std::string title, folder, concepts;
  Sections sections;
};

/// Where the demo's files are.
struct DemoFiles {
  fs::path world, network, milan;
  WorldSiglip siglip;
};

/// The label maps of every aspect, as labeler.masks takes them.
std::string mask_folders(const fs::path& world) {
  std::string folders;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    folders +=
        (aspect ? "," : "") + (world / "masks" / to_string(static_cast<Aspect>(aspect))).string();
  return folders;
}

std::vector<Method> methods(const DemoFiles& files) {
  const std::string hierarchy = (files.world / "hierarchy.json").string();
  const std::string attributes = (files.world / "attributes.npy").string();
  const std::string names = (files.world / "attribute_names.txt").string();
  const std::map<std::string, std::string> label{{"plugin", "label"}, {"hierarchy", hierarchy}};
  const std::map<std::string, std::string> recorded{
      {"plugin", "recorded"}, {"concepts", attributes}, {"names", names}};
  const std::map<std::string, std::string> siglip{
      {"plugin", "siglip"},
      {"weights", files.siglip.weights.string()},
      {"concepts", (files.world / "texts.txt").string()},
      {"a", format_number(files.siglip.sigmoid.a)},
      {"b", format_number(files.siglip.sigmoid.b)}};
  auto cosines = siglip;
  cosines["presence"] = "cosine";
  const std::map<std::string, std::string> pixels{
      {"plugin", "segmentation"},
      {"masks", mask_folders(files.world)},
      {"names", (files.world / "masks" / "names.txt").string()},
      {"ignore", "none"}};
  // Sentences are judged by the words they share with a picture's own caption.
  const std::map<std::string, std::string> captions{
      {"plugin", "captions"},
      {"captions", (files.world / "captions.txt").string()},
      {"names", names}};
  return {{"Network Dissection",
           "net_dissect",
           "labelled pixels",
           {{"labeler", pixels}, {"simulator", recorded}, {"solver", {{"plugin", "net_dissect"}}}}},
          {"MILAN",
           "milan",
           "sentences",
           {{"labeler", captions},
            {"solver", {{"plugin", "milan"}, {"checkpoint", files.milan.string()}}}}},
          {"CLIP-Dissect",
           "clip_dissect",
           "words, as a small SigLIP sees",
           {{"labeler", cosines}, {"simulator", siglip}, {"solver", {{"plugin", "clip_dissect"}}}}},
          {"LE(Label)",
           "label",
           "class labels and their groups",
           {{"labeler", label}, {"solver", {{"plugin", "linear"}}}}},
          {"LE(SigLIP)",
           "siglip",
           "words, as a small SigLIP sees",
           {{"labeler", siglip}, {"solver", {{"plugin", "linear"}}}}},
          {"LE(attributes)",
           "attributes",
           "everything in the picture",
           {{"labeler", recorded}, {"solver", {{"plugin", "linear"}}}}},
          {"single concept",
           "single",
           "everything in the picture",
           {{"labeler", recorded}, {"solver", {{"plugin", "linear"}, {"max_length", "1"}}}}}};
}

/// The sections every method shares.
Sections common_sections(const Sections& raw, const DemoFiles& files, const fs::path& out) {
  Sections sections = raw;
  sections["run"]["out"] = out.string();
  sections["data"] = {{"root", (files.world / "images").string()}};
  sections["model"] = world_model(NetworkKind::resnet, files.network);
  sections["evaluator"] = {{"plugin", "simulation_correlation"}};
  return sections;
}

Sections sections_of(const Method& method, const Sections& common, const fs::path& out) {
  Sections sections = common;
  sections["run"]["out"] = (out / method.folder).string();
  for (const auto& [name, keys] : method.sections) sections[name] = keys;
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
      lengths.push_back(std::max(1.0, static_cast<double>(explanation.terms.size())));
  return mean_sem(lengths).mean;
}

void print_row(const Method& method, const RunSummary& summary) {
  const MeanSem score = mean_sem(summary.test_correlation);
  std::printf("  %-18s %-30s %.3f ± %.3f  %5lld  %6.1f\n", method.title.c_str(),
              method.concepts.c_str(), score.mean, score.sem, static_cast<long long>(score.n),
              mean_length(summary));
}

void print_best(const Method& method, const RunSummary& summary) {
  std::printf("\nbest explained by %s (correlation on unseen pictures):\n", method.title.c_str());
  for (const auto i : best_explained(summary, 5))
    std::printf("  unit %-4lld %.3f  %s\n", static_cast<long long>(summary.explanations[i].unit),
                summary.test_correlation[i], in_words(summary.explanations[i]).c_str());
}

/// Trains a network of another kind and explains it by the methods named, one row each.
void explain_network(PluginRegistry& registry, const Sections& common,
                     const WorldNetworkOptions& options, const DemoFiles& files,
                     const std::vector<std::string>& folders) {
  const NetworkKind kind = options.train.kind;
  Sections sections = common;
  const fs::path out = fs::path(common.at("run").at("out")) / to_string(kind);
  sections["run"]["out"] = out.string();
  const Workplace setup(registry, common);
  sections["model"] =
      world_model(kind, world_network(options, common.at("run").at("cache"), setup.context()));
  {
    Workplace place(registry, sections);
    std::printf("\nA small %s names the class of %.0f %%. Layer %s:\n",
                kind == NetworkKind::vgg ? "VGG" : "ViT", 100 * accuracy(place),
                sections["model"]["layer"].c_str());
  }
  for (const auto& method : methods(files)) {
    if (std::find(folders.begin(), folders.end(), method.folder) == folders.end()) continue;
    print_row(method, explain_run(registry, sections_of(method, sections, out)));
    std::fflush(stdout);
  }
}

/// Words and phrases for SigLIP: attributes and class names.
void write_texts(const World& world, const fs::path& file) {
  std::string lines;
  for (const auto& attribute : World::attribute_names()) lines += attribute + "\n";
  for (const auto& name : world.class_names()) lines += name + "\n";
  write_file_atomic(file, lines);
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
  DemoFiles files{out / "world",
                  world_network(network, cache, setup.context()),
                  {},
                  options.train_siglip ? train_world_siglip({}, cache, setup.context())
                                       : world_siglip(out / "siglip")};
  write_texts(world, files.world / "texts.txt");
  const Sections common = common_sections(quiet, files, out);
  Workplace place(registry, common);
  std::printf("A small ResNet, trained on %lld others, names the class of %.0f %% of them.\n\n",
              static_cast<long long>(network.world.images), 100 * accuracy(place));

  {
    const Source source = open_source(place, place.open_data());
    files.milan = world_milan(*source.model.object, milan, cache, setup.context());
  }

  std::printf("  %-18s %-30s %-13s  %5s  %6s\n", "method", "concepts", "correlation", "units",
              "length");
  std::vector<RunSummary> summaries;
  auto all = methods(files);
  if (!has_sentencepiece()) {
    std::printf("  (what needs SigLIP is left out: SentencePiece cannot be loaded here)\n");
    const auto needs_it = [](const Method& method) {
      return method.sections.at("labeler").at("plugin") == "siglip";
    };
    all.erase(std::remove_if(all.begin(), all.end(), needs_it), all.end());
  }
  for (const auto& method : all) {
    summaries.push_back(explain_run(registry, sections_of(method, common, out)));
    print_row(method, summaries.back());
    std::fflush(stdout);
  }
  for (const NetworkKind kind : {NetworkKind::vgg, NetworkKind::vit}) {
    WorldNetworkOptions other{network.world, train_options(kind)};
    if (options.quick) other.train.epochs = 2;
    explain_network(registry, common, other, files, {"label", "attributes"});
  }
  for (std::size_t m = 0; m < all.size(); ++m)
    for (const char* shown : {"label", "siglip", "attributes"})
      if (all[m].folder == shown) print_best(all[m], summaries[m]);
  std::printf("\nEach run is in %s/<method>; %s runs again with\n  linex explain --config %s\n",
              out.c_str(), all[0].title.c_str(), (out / all[0].folder / "run.ini").c_str());
  return 0;
}

}  // namespace linex
