// Runs as library calls: what is refused before work, what a run finds, says and remembers.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <regex>
#include <set>

#include "core/cluster/run_cluster.hpp"
#include "core/run/console.hpp"
#include "core/run/journal.hpp"
#include "core/run/outcome.hpp"
#include "core/run/run.hpp"
#include "core/run/run_key.hpp"
#include "folder_test.hpp"
#include "linex/error.hpp"
#include "test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Run : public FolderTest {
 protected:
  static constexpr std::int64_t kRows = 400;

  void SetUp() override {
    torch::manual_seed(7);
    presence_ = (torch::rand({kRows, 6}) < 0.3).to(torch::kFloat32);
    // Units 0 to 2 are their own concepts; column 2 is the second "a" of dup.txt.
    activations_ = 0.3 * torch::randn({kRows, 3});
    for (int unit = 0; unit < 3; ++unit)
      activations_.select(1, unit) += 2 * presence_.select(1, unit);
    write_npy(folder_ / "P.npy", presence_);
    write_npy(folder_ / "A.npy", activations_);
    write("names.txt", "a\nb\nc\nd\ne\nf\n");
    write("dup.txt", "a\nb\na\nd\ne\nf\n");
  }

  std::string file(const std::string& name) const { return (folder_ / name).string(); }

  Sections recorded(const std::string& names = "names.txt") const {
    return {
        {"run", {{"out", file("out")}, {"report", "none"}, {"log-level", "off"}}},
        {"model", {{"plugin", "recorded"}, {"activations", file("A.npy")}}},
        {"labeler", {{"plugin", "recorded"}, {"concepts", file("P.npy")}, {"names", file(names)}}}};
  }
  RunSummary explain(const Sections& sections) { return explain_run(registry_, sections); }
  /// The text of the Error(input) that the run must end in.
  std::string refusal(const Sections& sections) {
    try {
      explain(sections);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  static PluginSearch search() {
    PluginSearch result;
    result.from_environment = false;
    result.installed = LINEX_PLUGIN_DIR;
    return result;
  }
  PluginRegistry registry_{search()};
  torch::Tensor presence_, activations_;
};

TEST_F(Run, NoVaryingConceptIsRefusedBeforeWork) {
  write_npy(folder_ / "ones.npy", torch::ones({kRows, 3}));
  write_npy(folder_ / "labels.npy", torch::full({kRows}, 1, torch::kInt64));
  write_npy(folder_ / "images.npy", torch::ones({kRows, 4}));
  write_npy(folder_ / "texts.npy", torch::randn({3, 4}));
  write("three.txt", "x\ny\nz\n");
  const std::map<std::string, std::string> labelers[] = {
      {{"plugin", "recorded"}, {"concepts", file("ones.npy")}},
      {{"plugin", "label"}, {"labels", file("labels.npy")}},
      {{"plugin", "embeddings"},
       {"images", file("images.npy")},
       {"texts", file("texts.npy")},
       {"names", file("three.txt")}}};
  for (const auto& labeler : labelers)
    for (const char* solver : {"linear", "glm_saga", "clip_dissect"}) {
      auto sections = recorded();
      sections["labeler"] = labeler;
      sections["solver"]["plugin"] = solver;
      const std::string text = refusal(sections);
      EXPECT_NE(text.find("no concept varies on the training images"), std::string::npos)
          << labeler.at("plugin") << " " << solver << ": " << text;
      EXPECT_EQ(text.find('\n'), std::string::npos);
      EXPECT_FALSE(fs::exists(folder_ / "out")) << "refused before anything was written";
    }
  // It varies, but only where nothing is fitted.
  auto only_test = torch::zeros({kRows, 1});
  only_test.slice(0, kRows - 20).fill_(1);
  write_npy(folder_ / "P1.npy", only_test);
  fs::create_directories(folder_ / "split");
  write_npy(folder_ / "split/train_ids.npy", torch::arange(0, 300));
  write_npy(folder_ / "split/val_ids.npy", torch::arange(300, 370));
  write_npy(folder_ / "split/test_ids.npy", torch::arange(370, kRows));
  auto sections = recorded();
  sections["labeler"] = {{"plugin", "recorded"}, {"concepts", file("P1.npy")}};
  sections["data"]["split"] = file("split");
  EXPECT_NE(refusal(sections).find("no concept varies"), std::string::npos);
}

TEST_F(Run, RareConceptsAreCountedAndTheThresholdIsAnOption) {
  const auto cosines = 0.22 + 0.03 * torch::randn({kRows, 6});
  write_npy(folder_ / "P.npy", cosines);
  write_npy(folder_ / "A.npy",
            40 * (cosines.slice(1, 0, 3) - 0.22) + 0.3 * torch::randn({kRows, 3}));
  for (const char* solver : {"linear", "glm_saga"}) {
    auto sections = recorded();
    sections["solver"]["plugin"] = solver;
    const std::string text = refusal(sections);
    EXPECT_NE(text.find("average below 0.5"), std::string::npos) << text;
    EXPECT_NE(text.find("solver.min_presence"), std::string::npos) << text;
    sections["solver"]["min_presence"] = "0.1";
    const auto summary = explain(sections);
    EXPECT_EQ(summary.figures.at("concepts_kept"), 6);
    EXPECT_EQ(summary.figures.at("concepts_rare"), 0);
    for (const double value : summary.test_correlation) EXPECT_GT(value, 0.85);
  }
  auto some = cosines.clone();
  some.slice(0, 0, 40).select(1, 0).fill_(0.9);
  some.slice(0, 0, 40).select(1, 3).fill_(0.8);
  write_npy(folder_ / "P.npy", some);
  const auto summary = explain(recorded());
  EXPECT_EQ(summary.figures.at("concepts_kept"), 2);
  EXPECT_EQ(summary.figures.at("concepts_rare"), 4);
}

TEST_F(Run, ConceptsOfOneNameAreToldApart) {
  const auto apart = explain(recorded());
  const auto twice = explain(recorded("dup.txt"));
  EXPECT_EQ(twice.explanations[0].terms.at(0).concept_name, "a");
  EXPECT_EQ(twice.explanations[2].terms.at(0).concept_name, "a (2)");
  for (int unit = 0; unit < 3; ++unit) {
    EXPECT_GT(twice.test_correlation[unit], 0.93) << unit;
    EXPECT_EQ(twice.test_correlation[unit], apart.test_correlation[unit]) << unit;
  }
  ASSERT_EQ(twice.warnings.size(), 1U);
  EXPECT_NE(twice.warnings[0].find("dup.txt: 1 name there already, the first is 'a'"),
            std::string::npos);

  // A superclass called as a class is: unit 0 is the superclass.
  const auto labels = torch::randint(0, 6, {kRows}, torch::kInt64);
  const auto in_group = labels.ge(1).logical_and(labels.le(3)).to(torch::kFloat32);
  write_npy(folder_ / "L.npy", labels);
  write_npy(folder_ / "A.npy", (2 * in_group + 0.05 * torch::randn({kRows})).unsqueeze(1));
  auto sections = recorded();
  sections["labeler"] = {
      {"plugin", "label"},
      {"labels", file("L.npy")},
      {"names", write("classes.txt", "dog\ngown\nnewt\ncat\nsea\nsky\n")},
      {"hierarchy", write("h.json", R"({"gown": [1, 2, 3], "animal": [0, 3]})")}};
  const auto grouped = explain(sections);
  EXPECT_EQ(grouped.explanations[0].terms.at(0).concept_name, "gown (2)");
  EXPECT_GT(grouped.test_correlation[0], 0.99);

  // Words whose embeddings are one column share it under either name.
  write_npy(folder_ / "images.npy", torch::randn({kRows, 8}));
  write_npy(folder_ / "texts.npy", torch::randn({6, 8}));
  sections["labeler"] = {{"plugin", "embeddings"},
                         {"images", file("images.npy")},
                         {"texts", file("texts.npy")},
                         {"names", file("dup.txt")}};
  Workplace place(registry_, sections);
  const auto labeler = place.open_labeler(nullptr);
  EXPECT_EQ(labeler.object->concepts()[2], "a (2)");
  EXPECT_TRUE(labeler.object->knows("a (2)"));

  write("hole.txt", "a\nb\n\nd\ne\nf\n");
  EXPECT_NE(refusal(recorded("hole.txt")).find("hole.txt: line 3 is empty"), std::string::npos);
}

TEST_F(Run, AnythingThatMattersChangesTheKey) {
  fs::create_directories(folder_ / "split");
  const auto split = [&](std::int64_t first) {
    write_npy(folder_ / "split/train_ids.npy", torch::arange(first, 280));
    write_npy(folder_ / "split/val_ids.npy", torch::arange(280, 320));
    write_npy(folder_ / "split/test_ids.npy", torch::arange(320, kRows));
  };
  split(0);
  auto sections = recorded();
  sections["data"]["split"] = file("split");
  const auto key = [&] { return explain(sections).provenance.at("run key"); };
  const std::string first = key();
  sections["run"]["threads"] = "1";
  sections["run"]["out"] = file("elsewhere");
  EXPECT_EQ(key(), first);
  std::set<std::string> keys{first};
  const auto changes = [&](const char* what) { EXPECT_TRUE(keys.insert(key()).second) << what; };
  write("names.txt", "a\nb\nc\nd\ne\nz\n");
  changes("names");
  presence_[0][0] = 1 - presence_[0][0];
  write_npy(folder_ / "P.npy", presence_);
  changes("presence");
  split(1);
  changes("split");
  sections["solver"]["lambda"] = "0.06";
  changes("option");
  sections["simulator"] = sections["labeler"];
  changes("simulator");
  write_npy(folder_ / "L.npy", torch::randint(0, 6, {kRows}, torch::kInt64));
  sections.erase("simulator");
  sections["labeler"] = {{"plugin", "label"},
                         {"labels", file("L.npy")},
                         {"hierarchy", write("h.json", R"({"even": [0, 2, 4]})")}};
  changes("labels");
  write("h.json", R"({"even": [0, 2]})");
  changes("hierarchy");
}

TEST_F(Run, AJournalOfOtherInputIsNotResumed) {
  const std::string key = explain(recorded()).provenance.at("run key");
  const fs::path journal = folder_ / "out/explanations.recorded.journal";
  Explanation planted;
  planted.unit = 0;
  planted.terms = {{"b", 123}};
  const auto plant = [&] {
    Journal(journal, layer_key(key, "recorded", content_digest(folder_ / "A.npy")), false)
        .append({planted});
  };
  plant();
  EXPECT_EQ(explain(recorded()).explanations[0].terms.at(0).weight, 123);  // the same run goes on
  EXPECT_FALSE(fs::exists(journal));
  plant();
  write_npy(folder_ / "P.npy", presence_.flip(1));
  EXPECT_NE(explain(recorded()).explanations[0].terms.at(0).weight, 123);
  write_npy(folder_ / "P.npy", presence_);
  plant();
  write_npy(folder_ / "A.npy", 2 * activations_);
  EXPECT_NE(explain(recorded()).explanations[0].terms.at(0).weight, 123);
}

TEST_F(Run, DeadAndConstantAreOneThingAtAnyScale) {
  fs::create_directories(folder_ / "split");
  write_npy(folder_ / "split/train_ids.npy", torch::arange(0, 280));
  write_npy(folder_ / "split/val_ids.npy", torch::arange(280, 320));
  write_npy(folder_ / "split/test_ids.npy", torch::arange(320, kRows));
  auto units = torch::cat({activations_, activations_, activations_}, 1);
  units.select(1, 3).fill_(0.25);                              // one value
  units.select(1, 4).fill_(0.3).index_put_({17}, 0.3 + 6e-8);  // and its rounding
  units.select(1, 5).slice(0, 280, 320).fill_(0.1);            // nothing to select by
  units.select(1, 6).slice(0, 0, 280).fill_(0.1);              // nothing to fit
  units.select(1, 7).zero_();
  for (const double scale : {1e-30, 1e-3, 1.0, 1e30}) {
    write_npy(folder_ / "A.npy", (units * scale).to(torch::kFloat32));
    auto sections = recorded();
    sections["data"]["split"] = file("split");
    const auto summary = explain(sections);
    const Status expected[] = {Status::ok,       Status::ok,   Status::ok,
                               Status::dead,     Status::dead, Status::constant,
                               Status::constant, Status::dead, Status::ok};
    for (std::size_t i = 0; i < 9; ++i)
      EXPECT_EQ(summary.explanations[i].status, expected[i]) << "unit " << i << " × " << scale;
    // Weights and biases keep their digits, and no more of them.
    const std::string text = outcome_text(summary);
    EXPECT_EQ(text.find("0.00·"), std::string::npos) << text;
    EXPECT_NE(text.find("·"), std::string::npos) << text;
    EXPECT_FALSE(std::regex_search(text, std::regex("[0-9]{6,}"))) << text;
  }
}

TEST_F(Run, AFewImagesAreToldToBeTooFew) {
  for (const std::int64_t n : {4, 6, 8, 12}) {
    write_npy(folder_ / "A.npy", activations_.slice(0, 0, n).contiguous());
    write_npy(folder_ / "P.npy", torch::rand({n, 6}));
    if (n == 6) {  // nothing at all to select by
      EXPECT_NE(refusal(recorded()).find("4 train, 0 val, 2 test"), std::string::npos);
      continue;
    }
    const auto summary = explain(recorded());
    const std::string text = outcome_text(summary);
    EXPECT_EQ(text.find("nan"), std::string::npos) << text;
    EXPECT_NE(text.find("no unit has a score: the split holds "), std::string::npos) << text;
    EXPECT_NE(text.find("a correlation needs 3 of each"), std::string::npos) << text;
    EXPECT_EQ(summary.warnings.size(), 1U);
  }
}

TEST_F(Run, OneMeanALayer) {
  RunSummary summary;
  summary.out = "out";
  const double values[] = {0.9, 0.7, 0.2, kNone, 0.4};
  ScoreColumn score{"sim correlation", true, {}, {}, {}, {}};
  for (int i = 0; i < 5; ++i) {
    Explanation explanation;
    explanation.unit = i % 2;
    explanation.terms = {{"red", 1e-30}};
    explanation.status = i == 3 ? Status::dead : Status::ok;
    if (i == 3) explanation.terms.clear();
    summary.explanations.push_back(explanation);
    summary.layers.push_back(i < 2 ? "layer1" : "layer2");
    score.value.push_back(values[i]);
    score.status.push_back(explanation.status);
  }
  summary.scores = {score};
  summary.test_correlation = score.value;
  summary.figures = {{"frontier/price 0.03/length", 1.5}, {"concepts_kept", 7}};
  write_summary(folder_ / "summary.json", summary, StageClock());
  const Json json = Json::parse(read_file(folder_ / "summary.json"));
  EXPECT_EQ(json["figures"]["frontier"]["price 0.03"]["length"], 1.5);
  EXPECT_EQ(json["figures"]["concepts_kept"], 7);
  EXPECT_EQ(json["units"], 5);
  EXPECT_NEAR(json["mean_test_correlation"].get<double>(), 0.55, 1e-12);
  ASSERT_EQ(json["layers"].size(), 2U);
  EXPECT_EQ(json["layers"][0]["layer"], "layer1");
  EXPECT_EQ(json["layers"][0]["units"], 2);
  EXPECT_NEAR(json["layers"][0]["mean_test_correlation"].get<double>(), 0.8, 1e-12);
  EXPECT_EQ(json["layers"][1]["units"], 3);
  EXPECT_EQ(json["layers"][1]["scored_units"], 2);
  EXPECT_EQ(json["layers"][1]["status_counts"]["dead"], 1);
  EXPECT_NEAR(json["layers"][1]["scores"]["sim correlation"]["mean"].get<double>(), 0.3, 1e-12);
  const std::string text = outcome_text(summary);
  EXPECT_NE(text.find("layer1: 2 units\nsim correlation          0.8000 ± 0.1000  (n = 2)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("layer2: 3 units, 1 dead\nsim correlation          0.3000"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("  layer1 unit 0     0.900  1e-30·red + 0\n"), std::string::npos) << text;
  EXPECT_EQ(text.find(" of "), std::string::npos) << text;
  EXPECT_NE(text.find("(n = 2)\nlength                   1.0000"), std::string::npos) << text;

  ScoreColumn ceiling{"sim ceiling", true, {0.95, 0.85, 0.4, 0.9, 0.5}, score.status, {}, {}};
  ceiling.status[3] = Status::ok;  // a unit that only the ceiling knows is in neither mean
  summary.scores.push_back(ceiling);
  const std::string limited = outcome_text(summary);
  EXPECT_NE(limited.find("0.8000 ± 0.1000  (n = 2)  0.80 of 0.90\n"), std::string::npos) << limited;
  EXPECT_NE(limited.find("(n = 2)  0.30 of 0.45\n"), std::string::npos) << limited;
}

TEST_F(Run, SummaryTellsWhatTheRunWasMadeOf) {
  explain(recorded());
  const Json json = Json::parse(read_file(folder_ / "out/summary.json"))["provenance"];
  EXPECT_EQ(json["digests"]["labeler.concepts"], sha256_of_file(folder_ / "P.npy"));
  EXPECT_EQ(json["digests"]["run key"].get<std::string>().size(), 64U);
  EXPECT_EQ(json["options"]["solver"]["lambda"], 0.05);
  EXPECT_EQ(json["options"]["solver"]["non_negative"], false);
  EXPECT_EQ(json["options"]["run"]["seed"], 0);
  EXPECT_FALSE(json["version"].get<std::string>().empty());
}

TEST_F(Run, SplitFilesMeanImagesAsListed) {
  fs::create_directories(folder_ / "images/a");
  for (int i = 0; i < 12; ++i)
    cv::imwrite(file("images/a/" + std::to_string(100 + i) + ".png"),
                cv::Mat(8, 8, CV_8UC3, cv::Scalar(20 * i, 9, 9)));
  write("images/a/103.png", "no picture");
  fs::create_directories(folder_ / "split");
  write_npy(folder_ / "split/train_ids.npy", torch::tensor({0, 4, 8, 11}, torch::kInt64));
  write_npy(folder_ / "split/val_ids.npy", torch::tensor({1, 5, 9}, torch::kInt64));
  write_npy(folder_ / "split/test_ids.npy", torch::tensor({2, 3, 6, 10}, torch::kInt64));
  Sections sections = recorded();
  sections["data"] = {{"root", file("images")}, {"on_error", "skip"}, {"split", file("split")}};
  Workplace place(registry_, sections);
  const auto data = place.open_data();
  ASSERT_EQ(data->size(), 11);
  const Split split = place.open_split(data->size(), data.get());
  std::vector<std::string> names;
  for (const Rows& part : {split.train, split.val, split.test})
    for (const auto row : part) names.push_back(data->name(row).substr(2, 3));
  EXPECT_EQ(names, (std::vector<std::string>{"100", "104", "108", "111", "101", "105", "109", "102",
                                             "106", "110"}));
}

TEST_F(Run, SimulationScoresOnlyUnitsThereAre) {
  test::Plugins plugins;
  const auto labeler = plugins.make<ConceptLabeler>(
      "recorded", test::given({{"concepts", folder_ / "P.npy"}, {"names", folder_ / "names.txt"}}));
  labeler->attach(nullptr);
  EvaluationInput input;
  for (const std::int64_t unit : {0, -1, 3, 2}) {
    Explanation explanation;
    explanation.unit = unit;
    explanation.terms = {{unit == 2 ? "c" : "a", 1.0}};
    input.explanations.push_back(explanation);
  }
  input.activations = activations_;
  for (std::int64_t row = 0; row < kRows; ++row) input.split.test.push_back(row);
  input.simulator = labeler.get();
  // All at once, and unit by unit.
  std::vector<double> before;
  for (const std::int64_t memory : {std::int64_t{1} << 30, std::int64_t{1}}) {
    plugins.run.memory_bytes = memory;
    const auto columns = plugins.make<Evaluator>("simulation_correlation")->evaluate(input);
    EXPECT_EQ(columns[0].status, (std::vector<Status>{Status::ok, Status::unknown_unit,
                                                      Status::unknown_unit, Status::ok}));
    EXPECT_GT(columns[0].value[0], 0.9);
    EXPECT_GT(columns[0].value[3], 0.9);
    EXPECT_TRUE(std::isnan(columns[0].value[1]));
    if (!before.empty()) {
      EXPECT_EQ(columns[0].value[3], before[3]);
    }
    before = columns[0].value;
  }
}

// Under ThreadSanitizer (./run sanitize thread) these tell of races.
TEST(Console, TakesProgressAndWarningsOfSeveralThreads) {
  constexpr std::int64_t kSteps = 4000;
  ConsoleLogger logger("warning", false);
  const auto progress = make_console_progress("steps", kSteps, "steps", false);
  parallel_for(kSteps, 4, [&](std::int64_t i) {
    progress->advance(1);
    if (i % 100 == 0) logger.write(LogLevel::warning, std::to_string(i));
  });
  const auto warnings = logger.warnings();
  EXPECT_EQ(std::set<std::string>(warnings.begin(), warnings.end()).size(), kSteps / 100);
}

TEST(Cluster, OfOneProcessLeavesEverythingAsItIs) {
  const RunCluster cluster;
  EXPECT_EQ(cluster.rank(), 0);
  EXPECT_EQ(cluster.size(), 1);
  EXPECT_EQ(cluster.for_plugins(), nullptr);
  double real[]{1.5, -2};
  std::int64_t whole[]{3, 4};
  std::string text = "bytes";
  parallel_for(8, 4, [&](std::int64_t) { EXPECT_EQ(cluster.gather("mine").at(0), "mine"); });
  cluster.sum(real, 2);
  cluster.sum(whole, 2);
  cluster.broadcast(text, 0);
  cluster.barrier();
  EXPECT_EQ(real[0] + real[1], -0.5);
  EXPECT_EQ(whole[0] + whole[1], 7);
  EXPECT_EQ(text, "bytes");
  EXPECT_EQ(cluster.bytes(), 0);
}

}  // namespace
}  // namespace linex
