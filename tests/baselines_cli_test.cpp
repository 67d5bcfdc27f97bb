// Network Dissection, MILAN and milan-train through the linex binary, on the embedded world.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "host/demo/trained_world.hpp"
#include "host/demo/world.hpp"
#include "linex/conformance.hpp"
#include "run_linex.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/text/vocabulary.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

class Baselines : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::temp_directory_path() / ("linex_baselines_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    write_world(World({90, 32, 4}), folder_ / "world", {true, 2});
    WorldNetworkOptions options;
    options.world.images = 200;
    options.train.epochs = 1;
    const conformance::TestContext context({}, {});
    fs::copy_file(world_network(options, folder_ / "cache", context), folder_ / "net.safetensors");
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  struct Outcome {
    int code;
    std::string error;
  };
  static Outcome run(const std::string& arguments) {
    const int code = run_linex(folder_, arguments);
    return {code, read_file(folder_ / "stderr.txt")};
  }
  /// `arguments` must end in `code` with one line on stderr that holds `part`.
  static void expect_error(const std::string& arguments, int code, const std::string& part) {
    const Outcome outcome = run(arguments + " --run.log-level=off");
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }

  static std::string network(const std::string& layers = "layer3") {
    return "--data.root=world/images --model.plugin=resnet --model.weights=net.safetensors "
           "--run.units=0:24 --run.batch=30 --model.layer=" +
           layers + " ";
  }
  static constexpr const char* kPixels =
      "--labeler.plugin=segmentation --labeler.masks=world/masks/shape,world/masks/colour "
      "--labeler.names=world/masks/names.txt --labeler.ignore=none ";
  static fs::path folder_;
};
fs::path Baselines::folder_;

TEST_F(Baselines, NetworkDissectionWritesATallyThatIsRead) {
  const std::string dissect =
      "explain " + network() + kPixels + "--solver.plugin=net_dissect --run.out=nd";
  const Outcome outcome = run(dissect);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const auto ours = read_explanations(folder_ / "nd/explanations.csv");
  const auto tally = read_explanation_table(folder_ / "nd/tally.csv");
  ASSERT_EQ(tally.layout, ExplanationLayout::tally);
  EXPECT_GE(tally.table.column("shape-label"), 0);
  EXPECT_GE(tally.table.column("colour-iou"), 0);
  std::map<std::int64_t, std::string> label_of;
  for (const auto& explanation : tally.content.explanations)
    if (!explanation.terms.empty()) label_of[explanation.unit] = explanation.terms[0].concept_name;
  ASSERT_EQ(ours.explanations.size(), 24U);
  int named = 0;
  for (const auto& explanation : ours.explanations) {
    if (explanation.terms.empty()) continue;
    EXPECT_EQ(explanation.terms[0].concept_name, label_of.at(explanation.unit));
    ++named;
  }
  EXPECT_GT(named, 12);

  const std::string bytes = read_file(folder_ / "nd/tally.csv");
  ASSERT_EQ(run(dissect + "2 --run.threads=1").code, 0);
  EXPECT_EQ(read_file(folder_ / "nd2/tally.csv"), bytes);
  expect_error(
      "explain " + network() + "--labeler.plugin=label --solver.plugin=net_dissect --run.out=bad",
      2, "labeler.plugin=segmentation");
  fs::remove(folder_ / "world/masks/shape" / World({90, 32, 4}).name(40));
  expect_error(dissect + "3", 3, World({90, 32, 4}).name(40));
}

TEST_F(Baselines, MilanIsTrainedOnCaptionsAndDescribes) {
  std::string captions = "layer,unit,description\n";
  const char* const things[] = {"red circles", "striped squares", "things on grass"};
  for (int unit = 0; unit < 24; ++unit)
    captions += "layer3," + std::to_string(unit) + "," + things[unit % 3] + "\n";
  std::ofstream(folder_ / "captions.csv") << captions;
  const std::string train = "--epochs=2 --hidden=16 --run.out=mine ";
  const Outcome trained = run("milan-train " + network() + train + "--captions=captions.csv");
  ASSERT_EQ(trained.code, 0) << trained.error;
  const std::string explain = "explain " + network() +
                              "--labeler.plugin=captions --labeler.captions=world/captions.txt "
                              "--labeler.names=world/attribute_names.txt --solver.plugin=milan "
                              "--solver.checkpoint=mine/milan.pth ";
  const Outcome described = run(explain + "--run.out=milan");
  ASSERT_EQ(described.code, 0) << described.error;
  const auto file = read_explanations(folder_ / "milan/explanations.csv");
  const auto known = tokenize("red circles striped squares things on grass");
  ASSERT_EQ(file.explanations.size(), 24U);
  for (const auto& explanation : file.explanations)
    for (const auto& term : explanation.terms)
      for (const auto& word : tokenize(term.concept_name))
        EXPECT_NE(std::find(known.begin(), known.end(), word), known.end()) << word;

  const std::string bytes = read_file(folder_ / "milan/explanations.csv");
  ASSERT_EQ(run(explain + "--run.out=milan2 --run.threads=1").code, 0);
  EXPECT_EQ(read_file(folder_ / "milan2/explanations.csv"), bytes);

  expect_error("milan-train " + network() + train, 2, "--captions");
  expect_error("milan-train " + network() + train + "--captions=captions.csv --epochs=many", 2,
               "--epochs");
  std::ofstream(folder_ / "other.csv") << "layer,unit,description\nlayer1,0,dogs\n";
  expect_error("milan-train " + network("layer2,layer3") + train + "--captions=other.csv", 3,
               "no caption for the layers layer2, layer3");
  std::ofstream(folder_ / "far.csv") << "layer,unit,description\nlayer3,64,dogs\n";
  expect_error("milan-train " + network() + train + "--captions=far.csv", 2, "no unit 64");
  expect_error(explain + "--solver.feature_layers=layer1 --run.out=bad", 3, "features");
}

}  // namespace
}  // namespace linex
