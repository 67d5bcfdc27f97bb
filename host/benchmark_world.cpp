#include "host/benchmark_world.hpp"

#include <filesystem>

#include "core/world/trained_world.hpp"
#include "core/world/world.hpp"
#include "host/workplace.hpp"
#include "linex/error.hpp"

namespace linex {

namespace fs = std::filesystem;

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
  const fs::path world = fs::absolute(out) / "world";
  write_world(World(pictures), world, {true, setup.settings().threads});

  BenchmarkConfiguration configuration{raw, {}};
  Sections& sections = configuration.sections;
  sections["data"]["root"] = (world / "images").string();
  for (const NetworkKind kind : {NetworkKind::resnet, NetworkKind::vgg, NetworkKind::vit}) {
    WorldNetworkOptions options;
    options.train = train_options(kind);
    const auto weights = fs::absolute(world_network(options, cache, setup.context()));
    configuration.order.push_back(std::string("network ") + to_string(kind));
    sections[configuration.order.back()] = world_model(kind, weights);
  }
  const auto method = [&](const std::string& name, const std::string& labeler,
                          const std::map<std::string, std::string>& solver) {
    configuration.order.push_back("method " + name);
    auto& keys = sections[configuration.order.back()];
    keys["labeler"] = labeler;
    if (labeler == "label") keys["labeler.hierarchy"] = (world / "hierarchy.json").string();
    if (labeler == "recorded") {
      keys["labeler.concepts"] = (world / "attributes.npy").string();
      keys["labeler.names"] = (world / "attribute_names.txt").string();
    }
    for (const auto& [key, value] : solver) keys[key] = value;
  };
  method("LE(Label)", "label", {{"solver", "linear"}});
  method("LE(attributes)", "recorded", {{"solver", "linear"}});
  method("LE(attributes) without search", "recorded",
         {{"solver", "linear"}, {"solver.search", "none"}, {"solver.max_length", "5"}});
  method("single concept", "recorded", {{"solver", "linear"}, {"solver.max_length", "1"}});
  method("CLIP-Dissect", "recorded", {{"solver", "clip_dissect"}});
  return configuration;
}

}  // namespace linex
