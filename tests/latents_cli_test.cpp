// Latents of a sparse autoencoder of a network, from the command line to every file that comes out.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "host/demo/trained_world.hpp"
#include "host/demo/world_sae.hpp"
#include "linex/conformance.hpp"
#include "run_linex.hpp"
#include "tests/test_models.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::int64_t kPictures = 90, kLatents = 32;

/// A world, a network trained on it for a moment, and a run over the latents of its last stage.
class Latents : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::temp_directory_path() / ("linex_latents_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    write_world(World({kPictures, 32, 4}), folder_ / "world", {true, 2});
    WorldNetworkOptions options;
    options.world.images = 200;
    options.train.epochs = 1;
    const conformance::TestContext context({}, {});
    fs::copy_file(world_network(options, folder_ / "cache", context), folder_ / "net.safetensors");
    test::TestModel network("resnet",
                            test::options({{"weights", (folder_ / "net.safetensors").string()}}));
    SaeOptions sae;
    sae.latents = kLatents;
    sae.k = 4;
    sae.epochs = 4;
    sae.batch = 256;
    const auto trained =
        world_sae(*network.operator->(), "layer3", options.world, sae, folder_ / "cache", context);
    fs::copy(trained.folder, folder_ / "sae", fs::copy_options::recursive);
    explained_ = trained.explained;
    again_ =
        world_sae(*network.operator->(), "layer3", options.world, sae, folder_ / "cache", context)
            .folder == trained.folder;
    code_ = run("explain " + run_of("layer3", "sae") +
                "--labeler.plugin=recorded --labeler.concepts=world/attributes.npy "
                "--labeler.names=world/attribute_names.txt "
                "--evaluator.plugin=simulation_correlation,simulation_ablation "
                "--run.report=full --run.out=out --export=exemplars,jsonl,neuronpedia,latex,svg");
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static std::string run_of(const std::string& layer, const std::string& basis) {
    return "--data.root=world/images --model.plugin=resnet --model.weights=net.safetensors "
           "--run.batch=30 --model.layer=" +
           layer + (basis.empty() ? "" : " --units.basis=" + basis) + " ";
  }
  static int run(const std::string& arguments) { return run_linex(folder_, arguments); }
  static std::string text(const fs::path& file) { return read_file(folder_ / file); }

  static inline fs::path folder_;
  static inline double explained_ = 0;
  static inline bool again_ = false;
  static inline int code_ = -1;
};

TEST_F(Latents, AreExplainedScoredAndAblated) {
  ASSERT_EQ(code_, 0) << text("stderr.txt");
  EXPECT_GT(explained_, 0.2);
  EXPECT_LE(explained_, 1);
  EXPECT_TRUE(again_);
  const auto file = read_explanations(folder_ / "out/explanations.csv");
  ASSERT_EQ(file.explanations.size(), static_cast<std::size_t>(kLatents));
  EXPECT_EQ(file.layers.front(), "layer3@sae");
  const Json summary = Json::parse(text("out/summary.json"));
  EXPECT_EQ(summary["units"], kLatents);
  EXPECT_TRUE(summary["provenance"].dump().find("units.basis") != std::string::npos);
  bool ablated = false;
  for (const auto& score : file.scores)
    if (score.name.find("ablation") != std::string::npos)
      for (const double value : score.value) ablated |= std::isfinite(value);
  EXPECT_TRUE(ablated);
  EXPECT_TRUE(fs::exists(folder_ / "out/report/index.html"));
}

TEST_F(Latents, ExemplarsHaveMilansLayoutAndAreTheStrongestImages) {
  ASSERT_EQ(code_, 0);
  const fs::path root = folder_ / "out/export/exemplars";
  std::size_t layers = 0;
  for (const auto& entry : fs::directory_iterator(root)) {
    // What MILAN's TopImagesDataset asks of every folder.
    EXPECT_EQ(entry.path().filename(), "layer3@sae");
    ++layers;
    const auto images = map_npy(entry.path() / "images.npy"),
               masks = map_npy(entry.path() / "masks.npy");
    EXPECT_EQ(images.scalar_type(), torch::kUInt8);
    EXPECT_EQ(masks.scalar_type(), torch::kUInt8);
    ASSERT_EQ(images.dim(), 5);
    ASSERT_EQ(masks.dim(), 5);
    EXPECT_EQ(images.size(0), kLatents);
    EXPECT_EQ(images.size(2), 3);
    EXPECT_EQ(masks.size(2), 1);
    EXPECT_EQ(images.sizes().slice(0, 2), masks.sizes().slice(0, 2));
    EXPECT_EQ(images.sizes().slice(3), masks.sizes().slice(3));
    EXPECT_LE(masks.max().item<int>(), 1);
    EXPECT_GT(masks.sum().item<double>(), 0);
  }
  EXPECT_EQ(layers, 1U);

  // Its images are those where the latent is largest anywhere, in that order.
  ASSERT_EQ(run("activations " + run_of("layer3@sae", "sae") + "--model.pool=max --run.out=max"), 0)
      << text("stderr.txt");
  const auto largest = map_npy(folder_ / "max/activations.npy");
  const auto ids = split_lines(read_file(root / "layer3@sae/ids.csv")),
             peaks = split_lines(read_file(root / "layer3@sae/activations.csv"));
  const auto images = map_npy(root / "layer3@sae/images.npy");
  const World world({kPictures, 32, 4});
  ASSERT_EQ(ids.size(), static_cast<std::size_t>(kLatents));
  for (std::int64_t unit = 0; unit < kLatents; ++unit) {
    const auto expected = std::get<0>(largest.select(1, unit).sort(0, true));
    const auto row = split(ids[static_cast<std::size_t>(unit)], ','),
               peak = split(peaks[static_cast<std::size_t>(unit)], ',');
    ASSERT_EQ(row.size(), static_cast<std::size_t>(images.size(1)));
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double value = std::stod(peak[i]);
      EXPECT_NEAR(value, expected[static_cast<std::int64_t>(i)].item<double>(), 1e-4);
      EXPECT_NEAR(value, largest[std::stoll(row[i])][unit].item<double>(), 1e-4);
    }
    if (unit == 0) {
      EXPECT_EQ(images[0][0].sizes(), (torch::IntArrayRef{3, 32, 32}));
    }
  }
}

TEST_F(Latents, LinesOfJsonHoldTheRun) {
  ASSERT_EQ(code_, 0);
  const auto file = read_explanations(folder_ / "out/explanations.csv");
  const auto lines = split_lines(text("out/export/explanations.jsonl"));
  ASSERT_EQ(lines.size(), file.explanations.size());
  std::size_t explained = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Json row = Json::parse(lines[i]);
    for (const char* key :
         {"layer", "unit", "status", "terms", "bias", "val_correlation", "scores"})
      EXPECT_TRUE(row.contains(key)) << key;
    EXPECT_EQ(row["unit"], file.explanations[i].unit);
    ASSERT_EQ(row["terms"].size(), file.explanations[i].terms.size());
    for (std::size_t t = 0; t < row["terms"].size(); ++t) {
      EXPECT_EQ(row["terms"][t]["concept"], file.explanations[i].terms[t].concept_name);
      EXPECT_EQ(row["terms"][t]["weight"], file.explanations[i].terms[t].weight);
    }
    EXPECT_EQ(row["scores"].size(), file.scores.size());
    explained += !row["terms"].empty();
  }
  EXPECT_GT(explained, 0U);
  EXPECT_LE(split_lines(text("out/export/neuronpedia.jsonl")).size(), explained);
  EXPECT_GT(std::distance(fs::directory_iterator(folder_ / "out/export/svg"), {}), 1);
}

TEST_F(Latents, OtherLayersAreRefusedBeforeAnyWork) {
  EXPECT_EQ(run("explain " + run_of("layer1", "sae") + "--labeler.plugin=label --run.out=no"), 3);
  EXPECT_NE(text("stderr.txt").find("name the layer that it was made for"), std::string::npos);
  EXPECT_EQ(run("explain " + run_of("layer3@other", "sae") + "--labeler.plugin=label --run.out=no"),
            2);
  EXPECT_NE(text("stderr.txt").find("layer3@other"), std::string::npos) << text("stderr.txt");
}

}  // namespace
}  // namespace linex
