// The embedded world: what is written is what is known, and its network is the same every time.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/types.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/run/host_context.hpp"
#include "folder_test.hpp"
#include "host/demo/render.hpp"
#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "host/demo/world_methods.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/data/dataset.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

using EmbeddedWorld = FolderTest;

TEST_F(EmbeddedWorld, IsReadBackAsItIsKnown) {
  const World world({120, 32, 5});
  write_world(world, folder_, {true, 2});
  DataOptions options;
  options.root = folder_ / "images";
  const auto data = open_data_set(options);
  ASSERT_EQ(data->size(), world.size());
  EXPECT_EQ(data->class_names(), world.class_names());
  EXPECT_EQ(data->labels(), world.labels());
  for (const std::int64_t row : {0, 17, 63, 119}) {
    EXPECT_EQ(data->name(row), world.name(row));
    EXPECT_TRUE(torch::equal(data->pixels(row), world.pixels(row)));
  }
  EXPECT_TRUE(torch::equal(map_npy(folder_ / "attributes.npy"), world.attributes()));
  EXPECT_EQ(read_list(folder_ / "attribute_names.txt"), World::attribute_names());
  const auto captions = read_list(folder_ / "captions.txt");
  ASSERT_EQ(captions.size(), 120u);
  // Rows are sorted by class, so the last one is a striped triangle.
  EXPECT_NE(captions.back().find("striped triangle on "), std::string::npos) << captions.back();
}

TEST_F(EmbeddedWorld, AttributesClassesAndHierarchyAgree) {
  const World world({600, 32, 1});
  const auto names = World::attribute_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  const torch::Tensor attributes = world.attributes();
  EXPECT_TRUE(torch::all(attributes.sum(1).eq(kAspects)).item<bool>());
  EXPECT_TRUE(torch::all(attributes.sum(0).gt(0)).item<bool>());
  for (std::int64_t row = 0; row < world.size(); row += 7) {
    const auto label = static_cast<std::size_t>(world.labels()[static_cast<std::size_t>(row)]);
    for (std::size_t a = 0; a < names.size(); ++a) {
      const bool present = attributes[row][static_cast<std::int64_t>(a)].item<float>() == 1;
      EXPECT_EQ(present,
                (" " + world.caption(row) + " ").find(" " + names[a] + " ") != std::string::npos);
      for (const auto& [group, ids] : world.hierarchy()) {
        if (group != names[a]) continue;
        EXPECT_EQ(present, std::count(ids.begin(), ids.end(), label) == 1);
      }
    }
  }
  write_world(World({20, 16, 1}), folder_, {});
  const auto hierarchy = nlohmann::json::parse(read_file(folder_ / "hierarchy.json"));
  EXPECT_EQ(hierarchy["patterned"].size(), 15u);
  EXPECT_EQ(hierarchy["striped"].size(), 5u);
}

TEST_F(EmbeddedWorld, MasksCoverTheObjectTheyName) {
  const World world({40, 48, 2});
  write_world(world, folder_, {true, 2});
  const auto names = read_list(folder_ / "masks/names.txt");
  DataOptions options;
  options.root = folder_ / "masks/colour";
  const auto colours = open_data_set(options);
  options.root = folder_ / "masks/background";
  const auto backgrounds = open_data_set(options);
  for (std::int64_t row = 0; row < world.size(); ++row) {
    const torch::Tensor object = world.object_mask(row);
    const torch::Tensor colour = colours->pixels(row).select(2, 0);
    const torch::Tensor background = backgrounds->pixels(row).select(2, 0);
    EXPECT_TRUE(torch::equal(colour.gt(0), object.gt(0)));
    EXPECT_TRUE(torch::equal(background.gt(0), object.eq(0)));
    const auto& line = names[static_cast<std::size_t>(colour.max().item<std::uint8_t>())];
    const auto named = line.substr(0, line.find("\tcolour"));
    EXPECT_LT(named.size(), line.size());
    EXPECT_NE(world.caption(row).find(" " + named + " "), std::string::npos);
    const double share = object.to(torch::kFloat32).mean().item<double>();
    EXPECT_GT(share, 0.03);
    EXPECT_LT(share, 0.7);
  }
}

TEST_F(EmbeddedWorld, SameSeedSamePixelsOthersDiffer) {
  const World a({50, 32, 3}), b({50, 32, 3}), c({50, 32, 4});
  EXPECT_TRUE(torch::equal(a.pixels(33), b.pixels(33)));
  EXPECT_FALSE(torch::equal(a.pixels(33), c.pixels(33)));
  EXPECT_EQ(a.fingerprint(), b.fingerprint());
  EXPECT_NE(a.fingerprint(), c.fingerprint());
  EXPECT_THROW(World({0, 32, 0}), Error);
  EXPECT_THROW(World({10, 4, 0}), Error);
}

TEST_F(EmbeddedWorld, TrainingLearnsAndDoesNotDependOnThreads) {
  const World world({160, 32, 9});
  TrainingSet data;
  data.images = torch::empty({world.size(), 3, 32, 32});
  for (std::int64_t row = 0; row < world.size(); ++row)
    data.images[row].copy_(world.pixels(row).permute({2, 0, 1}).to(torch::kFloat32) / 255 - 0.5);
  data.labels = torch::tensor(world.labels(), torch::kInt64);
  data.attributes = world.attributes();
  const std::map<NetworkKind, std::pair<std::string, std::string>> expected{
      {NetworkKind::resnet, {"layer3.0.bn2.running_var", "linear.weight"}},
      {NetworkKind::vgg, {"features.17.running_mean", "classifier.6.weight"}},
      {NetworkKind::vit, {"encoder.layers.encoder_layer_1.mlp.3.bias", "heads.head.weight"}}};
  for (const auto& [kind, names] : expected) {
    SCOPED_TRACE(to_string(kind));
    TrainOptions options = train_options(kind);
    options.width = kind == NetworkKind::resnet ? 4 : kind == NetworkKind::vgg ? 8 : 16;
    options.batch = 32;
    options.chunk = 16;
    options.epochs = 6;
    std::vector<double> losses;
    const auto note = [&](std::int64_t, double loss) { losses.push_back(loss); };
    options.threads = 1;
    const auto alone = train_network(data, options, note);
    ASSERT_EQ(losses.size(), 30u);
    EXPECT_LT(losses.back(), 0.95 * losses.front());
    options.threads = 3;
    const auto together = train_network(data, options, note);
    ASSERT_EQ(alone.size(), together.size());
    for (const auto& [name, values] : alone) {
      EXPECT_TRUE(torch::equal(values, together.at(name))) << name;
      EXPECT_TRUE(torch::isfinite(values).all().item<bool>()) << name;
    }
    EXPECT_EQ(alone.count(names.first), 1u);
    EXPECT_EQ(alone.count("attributes.weight"), 0u);  // the second head is thrown away
    EXPECT_EQ(alone.at(names.second).size(0), 20);
  }
}

TEST_F(EmbeddedWorld, TheNetworkIsTrainedOnceAndFoundAgain) {
  struct Silent : Logger {
    void write(LogLevel, std::string_view) override {}
  } log;
  RunSettings run;
  const HostContext context({}, run, log, true);
  WorldNetworkOptions options;
  options.world = {64, 16, 1};
  options.train.width = 4;
  options.train.epochs = 1;
  const fs::path file = world_network(options, folder_, context);
  const std::string bytes = read_file(file);
  const auto weights = load_weights(file);
  EXPECT_EQ(weights.get("conv1.weight").sizes().vec(), (std::vector<std::int64_t>{4, 3, 3, 3}));
  const auto written = fs::last_write_time(file);
  EXPECT_EQ(world_network(options, folder_, context), file);
  EXPECT_EQ(fs::last_write_time(file), written);
  fs::remove(file);
  world_network(options, folder_, context);
  EXPECT_EQ(read_file(file), bytes);
  options.train.learning_rate *= 2;
  EXPECT_NE(world_network(options, folder_, context), file);
}

/// Exit code of a shell command; its standard output goes to `out`.
int run_command(const std::string& command, std::string& out) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return -1;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    out.append(buffer, got);
  const int status = ::pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(EmbeddedWorld, TheDemoRunsAndItsRunsCanBeRepeated) {
  const std::string linex = std::string("'") + LINEX_BINARY + "' ";
  const fs::path out = folder_ / "demo";
  std::string text;
  ASSERT_EQ(run_command(linex + "demo --quick --run.out='" + out.string() + "' 2>&1", text), 0)
      << text;
  EXPECT_NE(text.find("LE(attributes)"), std::string::npos) << text;
  EXPECT_NE(text.find("best explained"), std::string::npos) << text;
  for (const char* network :
       {"A small ResNet", "A sparse autoencoder of layer3", "a small VGG", "a small ViT"})
    EXPECT_NE(text.find(network), std::string::npos) << text;
  const std::string first = read_file(out / "attributes/explanations.csv");
  EXPECT_EQ(std::count(first.begin(), first.end(), '\n'), 65);  // a header and 64 units
  const std::string again = linex + "explain --config '" + (out / "attributes/run.ini").string() +
                            "' --run.resume=false 2>&1";
  ASSERT_EQ(run_command(again, text), 0) << text;
  EXPECT_EQ(read_file(out / "attributes/explanations.csv"), first);
  text.clear();
  EXPECT_EQ(run_command(linex + "demo --data.root=x --run.out='" + out.string() + "' 2>&1", text),
            2);
  EXPECT_NE(text.find("data.root"), std::string::npos) << text;
}

TEST(WorldMethods, OneCatalogueWithAndWithoutSiglip) {
  const auto names = [](const MethodFiles& files) {
    std::vector<std::string> all;
    for (const auto& method : world_methods(files)) {
      EXPECT_FALSE(method.labeler.at("plugin").empty()) << method.name;
      EXPECT_FALSE(method.solver.at("plugin").empty()) << method.name;
      for (const auto* keys : {&method.labeler, &method.simulator}) {
        const auto plugin = keys->find("plugin");
        EXPECT_TRUE(files.siglip || plugin == keys->end() || plugin->second != "siglip")
            << method.name;
      }
      all.push_back(method.name);
    }
    return all;
  };
  MethodFiles files{"world", "milan.pth", {}, {}};
  const std::vector<std::string> without{"Network Dissection", "MILAN",          "CLIP-Dissect",
                                         "LE(Label)",          "LE(attributes)", "single concept"};
  EXPECT_EQ(names(files), without);
  EXPECT_EQ(world_methods(files)[1].solver.count("featurizer"), 0U);
  files.featurizer = "resnet.pth";
  EXPECT_EQ(world_methods(files)[1].solver.at("featurizer"), "resnet.pth");
  files.siglip = WorldSiglip{};
  auto with = without;
  with.insert(with.begin() + 4, "LE(SigLIP)");
  EXPECT_EQ(names(files), with);
}

}  // namespace
}  // namespace linex
