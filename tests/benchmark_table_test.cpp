// The benchmark's table and paired statistics.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/run/benchmark_page.hpp"
#include "core/run/benchmark_table.hpp"
#include "folder_test.hpp"
#include "shared_file.hpp"
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
  // Ahead by less than the error of the paired difference: unmarked.
  EXPECT_NE(to_terminal(table).find(" 0.4000 ± 0.1000 (n 2, dead 1)"), std::string::npos);
  EXPECT_NE(to_markdown(table).find("| two | 0.4000 ± 0.1000 (n 2, dead 1) | – | 2.00 |"),
            std::string::npos);
  EXPECT_NE(to_markdown(table).find("| two − one | net | +0.1000 ± 0.2000 | 1 : 0 : 1 | 0.7 | 2 |"),
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
  EXPECT_EQ(pair.outcome.difference.n, 2);
  EXPECT_DOUBLE_EQ(pair.outcome.difference.mean, 0.5);
  EXPECT_EQ(pair.outcome.wins, 1);
  EXPECT_EQ(pair.outcome.ties, 1);
  first.scores[0].higher_is_better = second.scores[0].higher_is_better = false;
  pair = paired_difference(first, second, "sim correlation");
  EXPECT_EQ(pair.outcome.losses, 1);
  EXPECT_EQ(paired_difference(first, second, "none").outcome.difference.n, 0);
}

TEST(BenchmarkTable, DifferencesOfRoundingAreTiesAndMarkNobody) {
  const auto table = make_benchmark_table({run("a", "n", {0.5, 0.7, 0.3, 0.6}),
                                           run("b", "n", {0.5 + 1e-9, 0.7 + 1e-9, 0.3 + 9e-7, 0.6}),
                                           run("a", "m", {0.5, 0.7, 0.3, 0.6}),
                                           run("b", "m", {0.5 + 2e-6, 0.7 - 1e-9, 0.2, 0.5})});
  const std::string score = "sim correlation";
  const auto same = table.against_best("n", score).at(0);
  EXPECT_EQ(same.outcome.outcome(), "0 : 4 : 0");
  EXPECT_EQ(same.outcome.difference.mean, 0);
  EXPECT_EQ(same.holm_p, 1);
  EXPECT_FALSE(table.best_stands_out("n", score));
  const auto other = table.against_best("m", score).at(0);
  EXPECT_EQ(other.first, "a");
  EXPECT_EQ(other.outcome.outcome(), "2 : 1 : 1");
  EXPECT_TRUE(table.best_stands_out("m", score));
  EXPECT_NE(to_markdown(table).find("| a | 0.5250 ± 0.0854 (n 4) | **0.5250 ± 0.0854** (n 4) |"),
            std::string::npos)
      << to_markdown(table);
}

TEST(BenchmarkTable, ALowerScoreMayBeTheBest) {
  const auto table =
      make_benchmark_table({run("a", "n", {1, 2, 3.5}, false), run("b", "n", {2, 3.25, 4}, false)});
  const auto pair = table.against_best("n", "sim correlation").at(0);
  EXPECT_EQ(pair.first, "a");
  EXPECT_EQ(pair.outcome.outcome(), "3 : 0 : 0");
  EXPECT_TRUE(table.best_stands_out("n", "sim correlation"));
}

TEST(BenchmarkTable, PValuesAreSciPysAndHolmsCorrection) {
  // scipy.stats.ttest_rel and statsmodels' multipletests(method="holm") of these.
  const auto table = make_benchmark_table({run("a", "n", {0.2, 0.5, 0.9, 0.4, 0.35, 0.6}),
                                           run("b", "n", {0.1, 0.45, 0.95, 0.2, 0.3, 0.5}),
                                           run("c", "n", {0.3, 0.1, 0.5, 0.2, 0.25, 0.4})});
  ASSERT_EQ(table.pairs.size(), 3U);
  EXPECT_NEAR(table.pairs[0].outcome.p, 0.07558681842161241, 1e-12);
  EXPECT_NEAR(table.pairs[1].outcome.p, 0.04931308767365267, 1e-12);
  EXPECT_NEAR(table.pairs[2].outcome.p, 0.2550016503386794, 1e-12);
  EXPECT_NEAR(table.pairs[0].holm_p, 0.15117364, 1e-8);
  EXPECT_NEAR(table.pairs[1].holm_p, 0.14793926, 1e-8);
  EXPECT_NEAR(table.pairs[2].holm_p, 0.25500165, 1e-8);
  EXPECT_EQ(nlohmann::json::parse(to_json(table))["paired"][0]["holm_p"], table.pairs[0].holm_p);
  const auto corrected = holm({0.02, kNone, 0.01, 0.5});
  EXPECT_DOUBLE_EQ(corrected[0], 0.04);
  EXPECT_TRUE(std::isnan(corrected[1]));
  EXPECT_DOUBLE_EQ(corrected[2], 0.03);
  EXPECT_DOUBLE_EQ(corrected[3], 0.5);
  EXPECT_EQ(p_value_text(0.00005), "< 0.0001");
  EXPECT_EQ(p_value_text(kNone), "–");
}

TEST(BenchmarkPage, ShowsEveryCellAndLinksTheReports) {
  const auto table = make_benchmark_table({run("one <b>", "net a", {0.2, 0.4, kNone}),
                                           run("two", "net a", {0.5, 0.6, kNone}),
                                           run("one <b>", "other", {-0.1, 0.1})});
  const std::string page = benchmark_page(table, {{"net a", "net a/report/index.html"}});
  EXPECT_EQ(page.find("<b>two"), page.rfind("<b>two"));  // marked once
  EXPECT_NE(page.find("<b>two"), std::string::npos);
  EXPECT_NE(page.find("href=\"net%20a/report/index.html\""), std::string::npos);
  EXPECT_EQ(page.find("one <b>"), std::string::npos);
  EXPECT_NE(page.find("0.5500 ± 0.0500"), std::string::npos);
  EXPECT_NE(page.find("2 : 0 : 0"), std::string::npos);
  EXPECT_NE(page.find("n 2, dead 1, length 2.00"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos);  // opens without a network
}

TEST(BenchmarkTable, ScoresOfAnyNameAndTheirIntervalsSurviveTheFile) {
  auto made = run("m", "n", {0.25, kNone});
  made.scores[0].low = {0.125, kNone};
  made.scores[0].high = {0.5, kNone};
  made.scores.push_back({"inverse auprc", true, {0.75, 1}, {Status::ok, Status::ok}, {}, {}});
  const TemporaryFolder folder;
  const auto path = folder.path() / "explanations.csv";
  write_explanations(path, {made.explanations, {"l", "l"}, made.scores});
  const auto back = read_explanations(path);
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
  const std::filesystem::path folder = shared_file("data/published");
  if (folder.empty()) GTEST_SKIP() << "no published files";
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
  const Comparison& outcome = table.pairs[0].outcome;
  EXPECT_NEAR(outcome.difference.mean, 0.220770 - 0.155650, 2e-6);
  EXPECT_EQ(outcome.wins + outcome.losses + outcome.ties, 512);
}

}  // namespace
}  // namespace linex
