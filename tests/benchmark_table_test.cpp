// The benchmark's table and paired statistics.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/run/benchmark_table.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

BenchmarkRun run(const std::string& method, const std::string& network,
                 const std::vector<double>& values, bool higher = true) {
  BenchmarkRun result{method, network, {}, {}};
  ScoreColumn score{"sim correlation", higher, values, {}, {}, {}};
  for (std::size_t i = 0; i < values.size(); ++i) {
    Explanation explanation;
    explanation.unit = static_cast<std::int64_t>(i) * 2;
    explanation.terms = {{"a", 1}, {"b", 1}};
    if (std::isnan(values[i])) explanation.status = Status::dead;
    result.explanations.push_back(explanation);
    score.status.push_back(explanation.status);
  }
  result.scores = {score};
  return result;
}

TEST(BenchmarkTable, MeansCountsAndBest) {
  const auto table =
      make_benchmark_table({run("one", "net", {0.2, 0.4, kNone}),
                            run("two", "net", {0.5, 0.3, kNone}), run("one", "other", {0.1, 0.1})});
  EXPECT_EQ(table.methods, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(table.networks, (std::vector<std::string>{"net", "other"}));
  const auto* cell = table.cell("one", "net", "sim correlation");
  ASSERT_NE(cell, nullptr);
  EXPECT_DOUBLE_EQ(cell->mean.mean, 0.3);
  EXPECT_NEAR(cell->mean.sem, 0.1, 1e-12);
  EXPECT_EQ(cell->mean.n, 2);
  EXPECT_EQ(cell->units, 3);
  EXPECT_EQ(cell->dead, 1);
  EXPECT_EQ(cell->length, 2);
  EXPECT_EQ(table.best("net", "sim correlation")->method, "two");
  EXPECT_EQ(table.cell("two", "other", "sim correlation"), nullptr);
  ASSERT_EQ(table.pairs.size(), 1U);
  EXPECT_NE(to_terminal(table).find("*0.4000 ± 0.1000 (n 2, dead 1)"), std::string::npos);
  EXPECT_NE(to_markdown(table).find("| two | **0.4000 ± 0.1000** (n 2, dead 1) | – |"),
            std::string::npos);
  EXPECT_NE(to_markdown(table).find("| two − one | net | +0.1000 ± 0.2000 | 1 : 1 | 2 |"),
            std::string::npos);
  EXPECT_NE(to_csv(table).find("sim correlation,one,other,0.1,0,2,2,0,2\n"), std::string::npos);
  const auto json = nlohmann::json::parse(to_json(table));
  EXPECT_EQ(json["cells"].size(), 3U);
  EXPECT_DOUBLE_EQ(json["paired"][0]["difference"], -0.1);
}

TEST(BenchmarkTable, PairsByUnitAndKnowsWhatIsBetter) {
  auto first = run("a", "n", {1, 2, 3}), second = run("b", "n", {1, 1, 9});
  std::swap(second.explanations[0], second.explanations[1]);
  std::swap(second.scores[0].value[0], second.scores[0].value[1]);
  second.explanations[2].unit = 77;  // no partner
  auto pair = paired_difference(first, second, "sim correlation");
  EXPECT_EQ(pair.difference.n, 2);
  EXPECT_DOUBLE_EQ(pair.difference.mean, 0.5);
  EXPECT_EQ(pair.first_wins, 1);
  EXPECT_EQ(pair.ties, 1);
  first.scores[0].higher_is_better = second.scores[0].higher_is_better = false;
  pair = paired_difference(first, second, "sim correlation");
  EXPECT_EQ(pair.second_wins, 1);
  EXPECT_EQ(paired_difference(first, second, "none").difference.n, 0);
}

TEST(BenchmarkTable, ScoresOfAnyNameAndTheirIntervalsSurviveTheFile) {
  auto made = run("m", "n", {0.25, kNone});
  made.scores[0].low = {0.125, kNone};
  made.scores[0].high = {0.5, kNone};
  made.scores.push_back({"inverse auprc", true, {0.75, 1}, {Status::ok, Status::ok}, {}, {}});
  const auto path = std::filesystem::temp_directory_path() / "linex_benchmark_table.csv";
  write_explanations(path, {made.explanations, {"l", "l"}, made.scores});
  const auto back = read_explanations(path);
  std::filesystem::remove(path);
  ASSERT_EQ(back.scores.size(), 2U);
  EXPECT_EQ(back.scores[0].name, "sim correlation");
  EXPECT_EQ(back.scores[0].low[0], 0.125);
  EXPECT_EQ(back.scores[0].high[0], 0.5);
  EXPECT_TRUE(std::isnan(back.scores[0].high[1]));
  EXPECT_EQ(back.scores[1].name, "inverse auprc");
  EXPECT_EQ(back.scores[1].value[0], 0.75);
  EXPECT_TRUE(back.scores[1].low.empty());
}

TEST(BenchmarkTable, PublishedFilesGiveThePublishedTable) {  // docs/methods.md §6.1, §6.3
  const char* shared = std::getenv("LINEX_SHARED");
  if (!shared) GTEST_SKIP() << "needs LINEX_SHARED";
  const std::filesystem::path folder = std::filesystem::path(shared) / "data/published";
  std::vector<BenchmarkRun> runs;
  for (const char* name : {"clip_dissect", "milan", "le_siglip"}) {
    auto file = read_explanations(folder / (std::string(name) + "_resnet18_places365_layer4.csv"));
    runs.push_back({name, "resnet18", std::move(file.explanations), std::move(file.scores)});
  }
  const auto table = make_benchmark_table(runs);
  const auto mean = [&](const char* method) {
    return table.cell(method, "resnet18", "sim correlation")->mean;
  };
  EXPECT_NEAR(mean("clip_dissect").mean, 0.220770, 1e-6);
  EXPECT_NEAR(mean("clip_dissect").sem, 0.005205, 1e-6);
  EXPECT_NEAR(mean("milan").mean, 0.155650, 1e-6);
  EXPECT_NEAR(mean("milan").sem, 0.005433, 1e-6);
  EXPECT_NEAR(mean("le_siglip").mean, 0.437158, 1e-6);
  EXPECT_NEAR(mean("le_siglip").sem, 0.003259, 1e-6);
  EXPECT_NEAR(table.cell("le_siglip", "resnet18", "sim correlation")->length, 4.2520, 1e-4);
  EXPECT_EQ(table.best("resnet18", "sim correlation")->method, "le_siglip");
  ASSERT_EQ(table.pairs.size(), 3U);
  EXPECT_NEAR(table.pairs[0].difference.mean, 0.220770 - 0.155650, 2e-6);
  EXPECT_EQ(table.pairs[0].first_wins + table.pairs[0].second_wins + table.pairs[0].ties, 512);
}

}  // namespace
}  // namespace linex
