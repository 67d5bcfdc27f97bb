#include "host/demo/benchmark_world.hpp"

#include <filesystem>

#include "core/run/run_stages.hpp"
#include "core/run/workplace.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_methods.hpp"
#include "host/demo/world_milan.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

using Keys = std::map<std::string, std::string>;

/// Keys of a method's part: "labeler" = PLUGIN and "labeler.KEY".
void add_part(Keys& method, const std::string& part, const Keys& keys) {
  for (const auto& [key, value] : keys) method[key == "plugin" ? part : part + "." + key] = value;
}

/// As published: SigLIP labels for LE(SigLIP) and CLIP-Dissect and simulates for all. Without it
/// each method is simulated by concepts of its own kind.
std::vector<WorldMethod> benchmarked(const MethodFiles& files) {
  std::vector<WorldMethod> methods;
  std::vector<WorldMethod> all = world_methods(files), formulas = formula_methods(files);
  all.insert(all.begin() + 2, formulas.begin(), formulas.end());
  for (auto& method : all) {
    const bool instead = !files.siglip && method.name == "LE(attributes)";
    const bool published = method.name != "LE(attributes)" && method.name != "single concept";
    if (!published && !instead) continue;
    if (files.siglip) method.simulator = siglip_keys(files);
    methods.push_back(std::move(method));
  }
  return methods;
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
  MethodFiles made{fs::absolute(out) / "world", {}, {}, {}};
  const World world(pictures);
  write_world(world, made.world, {true, setup.settings().threads});
  write_texts(world, made.world);
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
    if (kind == NetworkKind::resnet) made.featurizer = weights;
    configuration.order.push_back(std::string("network ") + to_string(kind));
    sections[configuration.order.back()] = world_model(kind, weights);
  }
  made.milan = train_milan(registry, sections, sections[configuration.order.front()], cache);
  for (const auto& method : benchmarked(made)) {
    configuration.order.push_back("method " + method.name);
    Keys& keys = sections[configuration.order.back()];
    add_part(keys, "labeler", method.labeler);
    add_part(keys, "solver", method.solver);
    add_part(keys, "simulator", method.simulator);
  }
  return configuration;
}

}  // namespace linex
