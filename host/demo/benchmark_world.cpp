#include "host/demo/benchmark_world.hpp"

#include <filesystem>
#include <optional>

#include "core/run/run_stages.hpp"
#include "core/run/workplace.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_milan.hpp"
#include "host/demo/world_siglip.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

using Keys = std::map<std::string, std::string>;

/// Where the world's files and models are. Without SentencePiece there is no SigLIP.
struct Made {
  fs::path world, resnet, milan;
  std::optional<WorldSiglip> siglip;
};

/// Keys of a method's part: "labeler" = PLUGIN and "labeler.KEY".
void add_part(Keys& method, const std::string& part, const Keys& keys) {
  for (const auto& [key, value] : keys) method[key == "plugin" ? part : part + "." + key] = value;
}

struct Method {
  std::string name;
  Keys labeler, solver, simulator;
};

Keys siglip_keys(const Made& made) {
  return {{"plugin", "siglip"},
          {"weights", made.siglip->weights.string()},
          {"concepts", (made.world / "texts.txt").string()},
          {"a", format_number(made.siglip->sigmoid.a)},
          {"b", format_number(made.siglip->sigmoid.b)}};
}

/// As published: SigLIP labels for LE(SigLIP) and CLIP-Dissect and simulates for all.
std::vector<Method> methods_with_siglip(const Made& made, const Keys& pixels, const Keys& milan,
                                        const Keys& label) {
  const Keys siglip = siglip_keys(made);
  Keys cosine = siglip;
  cosine["presence"] = "cosine";
  return {{"Network Dissection", pixels, {{"plugin", "net_dissect"}}, siglip},
          {"MILAN", {}, milan, siglip},
          {"CLIP-Dissect", cosine, {{"plugin", "clip_dissect"}}, siglip},
          {"LE(Label)", label, {{"plugin", "linear"}}, siglip},
          {"LE(SigLIP)", siglip, {{"plugin", "linear"}}, siglip}};
}

/// What is in the picture instead of SigLIP's view of it, and each method simulated by its own
/// concepts; sentences by the words they share with a picture's caption.
std::vector<Method> methods_without(const Made& made, const Keys& pixels, const Keys& milan,
                                    const Keys& label) {
  const std::string names = (made.world / "attribute_names.txt").string();
  const Keys attributes{{"plugin", "recorded"},
                        {"concepts", (made.world / "attributes.npy").string()},
                        {"names", names}};
  const Keys captions{{"plugin", "captions"},
                      {"captions", (made.world / "captions.txt").string()},
                      {"names", names}};
  return {{"Network Dissection", pixels, {{"plugin", "net_dissect"}}, attributes},
          {"MILAN", {}, milan, captions},
          {"CLIP-Dissect", attributes, {{"plugin", "clip_dissect"}}, attributes},
          {"LE(Label)", label, {{"plugin", "linear"}}, label},
          {"LE(attributes)", attributes, {{"plugin", "linear"}}, attributes}};
}

std::vector<Method> methods(const Made& made) {
  const auto file = [&](const char* name) { return (made.world / name).string(); };
  const Keys label{{"plugin", "label"}, {"hierarchy", file("hierarchy.json")}};
  Keys pixels{{"plugin", "segmentation"}, {"names", file("masks/names.txt")}, {"ignore", "none"}};
  for (int aspect = 0; aspect < kAspects; ++aspect)
    pixels["masks"] +=
        (aspect ? "," : "") + file("masks") + "/" + to_string(static_cast<Aspect>(aspect));
  const Keys milan{{"plugin", "milan"},
                   {"checkpoint", made.milan.string()},
                   {"featurizer", made.resnet.string()}};
  return made.siglip ? methods_with_siglip(made, pixels, milan, label)
                     : methods_without(made, pixels, milan, label);
}

/// Attributes and class names, one a line.
void write_texts(const World& world, const fs::path& file) {
  std::string lines;
  for (const auto& attribute : World::attribute_names()) lines += attribute + "\n";
  for (const auto& name : world.class_names()) lines += name + "\n";
  write_file_atomic(file, lines);
}

/// The MILAN of all three networks sees exemplars with the resnet's features.
fs::path train_milan(PluginRegistry& registry, const Sections& sections, const Keys& resnet,
                     const fs::path& cache) {
  Sections network = sections;
  network["model"] = resnet;
  Workplace place(registry, network);
  const Source source = open_source(place, place.open_data());
  return fs::absolute(world_milan(*source.model.object, {}, cache, place.context()));
}

}  // namespace

BenchmarkConfiguration world_benchmark(PluginRegistry& registry, const Sections& raw) {
  for (const auto& [name, keys] : raw)
    if (name != "run" && name != "evaluator" && !keys.empty())
      throw usage_error("linex benchmark --world chooses its own " + name +
                        "; leave it out, or write a configuration without --world");
  Workplace setup(registry, raw);
  const fs::path out = setup.out();
  const fs::path cache = setup.settings().cache.empty() ? out / "cache" : setup.settings().cache;
  std::error_code failure;
  fs::create_directories(cache, failure);
  if (failure)
    throw input_error("cannot make the folder " + cache.string() + ": " + failure.message());
  WorldOptions pictures;
  pictures.seed = setup.settings().seed;
  Made made{fs::absolute(out) / "world", {}, {}, {}};
  const World world(pictures);
  write_world(world, made.world, {true, setup.settings().threads});
  write_texts(world, made.world / "texts.txt");
  if (has_sentencepiece())
    made.siglip = world_siglip(made.world / "siglip");
  else
    setup.log().warning("SentencePiece cannot be loaded: no SigLIP among the methods");

  BenchmarkConfiguration configuration{raw, {}};
  Sections& sections = configuration.sections;
  sections["data"]["root"] = (made.world / "images").string();
  for (const NetworkKind kind : {NetworkKind::resnet, NetworkKind::vgg, NetworkKind::vit}) {
    WorldNetworkOptions options;
    options.train = train_options(kind);
    const auto weights = fs::absolute(world_network(options, cache, setup.context()));
    if (kind == NetworkKind::resnet) made.resnet = weights;
    configuration.order.push_back(std::string("network ") + to_string(kind));
    sections[configuration.order.back()] = world_model(kind, weights);
  }
  made.milan = train_milan(registry, sections, sections[configuration.order.front()], cache);
  for (const auto& method : methods(made)) {
    configuration.order.push_back("method " + method.name);
    Keys& keys = sections[configuration.order.back()];
    add_part(keys, "labeler", method.labeler);
    add_part(keys, "solver", method.solver);
    add_part(keys, "simulator", method.simulator);
  }
  return configuration;
}

}  // namespace linex
