// Would it come out again, and what comes out where there is nothing?
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/planted_regression.hpp"
#include "tests/small_run.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/math/stability.hpp"

namespace linex {
namespace {

std::vector<UnitStability> resample(PlantedRegression& planted, std::int64_t resamples,
                                    int threads = 2) {
  StabilityOptions options;
  options.resamples = resamples;
  options.seed = 5;
  options.threads = threads;
  std::vector<std::int64_t> units;
  for (std::size_t k = 0; k < planted.selections.size(); ++k)
    units.push_back(static_cast<std::int64_t>(k));
  return stability(*planted.regression, units, planted.selections, options);
}

TEST(Stability, PlantedTermsComeBackAtHalfTheVariance) {
  PlantedRegression planted(4000, 60, 60, 0.5, 1);
  const auto found = resample(planted, 50);
  int whole = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    std::set<std::int64_t> steady;
    for (std::size_t t = 0; t < found[k].terms.size(); ++t)
      if (found[k].terms[t].frequency >= 0.95)
        steady.insert(
            planted.regression->concepts[static_cast<std::size_t>(planted.selections[k].terms[t])]);
    bool all = true;
    for (const auto& [concept_, weight] : planted.truth[k]) all = all && steady.count(concept_);
    whole += all;
    EXPECT_GT(found[k].jaccard, 0.6);
    EXPECT_LE(found[k].jaccard, 1);
  }
  EXPECT_GE(whole, 57);  // 95 %
}

TEST(Stability, WhatIsNotThereDoesNotComeBack) {
  PlantedRegression planted(700, 60, 40, 0.02, 2);
  const auto found = resample(planted, 40);
  double frequency = 0, jaccard = 0;
  int terms = 0, units = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    for (std::size_t t = 0; t < found[k].terms.size(); ++t)
      if (!planted.truth[k].count(planted.regression->concepts[static_cast<std::size_t>(
              planted.selections[k].terms[t])])) {
        frequency += found[k].terms[t].frequency;
        ++terms;
      }
    if (found[k].terms.empty()) continue;
    jaccard += found[k].jaccard;
    ++units;
  }
  ASSERT_GT(terms, 10);
  EXPECT_LT(frequency / terms, 0.6);
  EXPECT_LT(jaccard / units, 0.5);
}

TEST(Stability, IntervalsCoverPlantedWeights) {  // tests/bench/stability_coverage has more of it
  int covered = 0, all = 0;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    PlantedRegression planted(1500, 30, 12, 0.5, 100 + seed);
    const auto found = resample(planted, 50);
    for (std::size_t k = 0; k < found.size(); ++k) {
      std::set<std::int64_t> chosen;
      for (const std::int64_t j : planted.selections[k].terms)
        chosen.insert(planted.regression->concepts[static_cast<std::size_t>(j)]);
      bool complete = true;
      for (const auto& [concept_, weight] : planted.truth[k])
        complete = complete && chosen.count(concept_);
      if (!complete) continue;  // weights mean something else without one of the terms
      for (std::size_t t = 0; t < found[k].terms.size(); ++t) {
        const auto truth = planted.truth[k].find(
            planted.regression->concepts[static_cast<std::size_t>(planted.selections[k].terms[t])]);
        if (truth == planted.truth[k].end()) continue;
        covered +=
            found[k].terms[t].low <= truth->second && truth->second <= found[k].terms[t].high;
        ++all;
      }
    }
  }
  ASSERT_GT(all, 400);
  EXPECT_GE(covered, 0.90 * all) << covered << " of " << all;
  EXPECT_LE(covered, 0.98 * all) << covered << " of " << all;
}

TEST(Stability, DependsOnNeitherThreadsNorOtherUnits) {
  PlantedRegression planted(900, 40, 9, 0.3, 3);
  const auto expected = resample(planted, 20, 1), again = resample(planted, 20, 3);
  StabilityOptions options;
  options.resamples = 20;
  options.seed = 5;
  const auto alone = stability(*planted.regression, {4}, {planted.selections[4]}, options);
  for (std::size_t k = 0; k < expected.size(); ++k) {
    EXPECT_EQ(expected[k].jaccard, again[k].jaccard);
    for (std::size_t t = 0; t < expected[k].terms.size(); ++t) {
      EXPECT_EQ(expected[k].terms[t].frequency, again[k].terms[t].frequency);
      EXPECT_EQ(expected[k].terms[t].low, again[k].terms[t].low);
    }
  }
  EXPECT_EQ(alone[0].jaccard, expected[4].jaccard);
  EXPECT_EQ(alone[0].terms[0].high, expected[4].terms[0].high);
  const auto none = stability(*planted.regression, {0}, {Selection()}, options);
  EXPECT_TRUE(none[0].terms.empty());
  EXPECT_TRUE(std::isnan(none[0].jaccard));
}

TEST(NoiseFloor, ShufflesWithinSplitsAndFindsNothing) {
  PlantedRegression planted(3000, 80, 50, 0.5, 4);
  const NoiseFloor floor = noise_floor(*planted.regression, LinearOptions(), 40, 9, 2);
  EXPECT_EQ(floor.units, 40);
  ASSERT_GT(floor.test.n, 10);
  EXPECT_NEAR(floor.test.mean, 0, 4 * floor.test.sem);
  // The search looked at the validation rows: what it reaches there is above nothing, and far below
  // what is planted.
  EXPECT_GT(floor.val.mean, 0);
  EXPECT_LT(floor.val.mean, 0.15);
  const NoiseFloor again = noise_floor(*planted.regression, LinearOptions(), 40, 9, 1);
  EXPECT_EQ(floor.val.mean, again.val.mean);
  EXPECT_NE(noise_floor(*planted.regression, LinearOptions(), 40, 10, 1).val.mean, floor.val.mean);

  // The moments are those of a regression whose activations are what the shuffled ones read.
  const auto shuffled = planted.regression->shuffled({3, 7}, 9);
  const torch::Tensor q = planted.regression->cross, s = shuffled->cross;
  EXPECT_LT(s.abs().max().item<double>(), 0.15);
  EXPECT_GT(q.select(0, 3).abs().max().item<double>(), 0.3);
  EXPECT_EQ(shuffled->mean_square[1], planted.regression->mean_square[7]);
  const auto tile = shuffled->held_out(planted.split.test);
  EXPECT_TRUE(std::isfinite(tile.correlation({{0, {1}, {1.0}}})[0]));
}

class StabilityRun : public SmallRun {};

TEST_F(StabilityRun, ExactSaysTheShareCertified) {
  const std::string options = recorded_ +
                              "--evaluator.plugin=simulation_correlation --solver.plugin=linear "
                              "--run.out=o ";
  const Ended ended = run("explain " + options + "--solver.search=exact");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_NE(ended.out.find("certified best           100.0 %"), std::string::npos) << ended.out;
  const auto json = nlohmann::json::parse(read_file(folder_ / "o/summary.json"));
  EXPECT_EQ(json["figures"]["exact"]["share certified"], 1);
  EXPECT_EQ(json["figures"]["exact"]["mean gap"], 0);
  EXPECT_EQ(json["trust"].size(), 1U);
  // The page says so, too, and says it again when it is built again.
  ASSERT_EQ(run("explain " + with_report_ +
                "--solver.plugin=linear --solver.search=exact "
                "--evaluator.plugin=simulation_correlation --run.out=p")
                .code,
            0);
  const std::string page = read_file(folder_ / "p/report/index.html");
  EXPECT_NE(page.find("certified best 100.0 %"), std::string::npos);
  ASSERT_EQ(run("report p").code, 0);
  EXPECT_EQ(read_file(folder_ / "p/report/index.html"), page);
  expect_error("explain " + options + "--solver.search=exact --solver.stability=5", 2,
               "only search=swap and search=forward");
  expect_error("explain " + options + "--solver.search=exact --solver.non_negative=true", 2,
               "exact knows no solver.non_negative");
}

TEST_F(StabilityRun, WritesItsTableAndSaysTheMeans) {
  const std::string options = recorded_ +
                              "--evaluator.plugin=simulation_correlation --solver.plugin=linear "
                              "--run.out=o ";
  ASSERT_EQ(run("explain " + options).code, 0);
  const std::string plain = explanations("o");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "o/stability.csv"));
  const Ended ended = run("explain " + options + "--solver.stability=20 --solver.noise_floor=3");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_EQ(explanations("o"), plain);
  EXPECT_NE(ended.out.find("\nstability "), std::string::npos) << ended.out;
  const CsvTable table = read_csv(folder_ / "o/stability.csv");
  EXPECT_EQ(table.header, (std::vector<std::string>{"layer", "unit", "term", "frequency",
                                                    "weight low", "weight high", "weight"}));
  ASSERT_GE(table.rows.size(), 6U);  // two terms a unit
  for (const auto& row : table.rows) {
    EXPECT_GE(std::stod(row[3]), 0.5) << row[2];
    EXPECT_LE(std::stod(row[4]), std::stod(row[6]));
    EXPECT_GE(std::stod(row[5]), std::stod(row[6]));
  }
  const auto json = nlohmann::json::parse(read_file(folder_ / "o/summary.json"));
  EXPECT_GT(json["mean_stability"].get<double>(), 0.6);
  EXPECT_EQ(json["figures"]["noise floor"]["units"], 3);
  // Nothing of an earlier run stays.
  ASSERT_EQ(run("explain " + options).code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "o/stability.csv"));
  expect_error("explain " + options + "--solver.search=greedy --solver.stability=5", 2,
               "only search=swap and search=forward");
}

TEST_F(StabilityRun, CardsKnowHowOftenATermComesBack) {
  ASSERT_EQ(run("explain " + with_report_ +
                "--evaluator.plugin=simulation_correlation --solver.plugin=linear --run.out=o "
                "--solver.stability=20")
                .code,
            0);
  const CsvTable table = read_csv(folder_ / "o/stability.csv");
  const std::string page = read_file(folder_ / "o/report/index.html");
  const std::string term = "[\"" + table.rows[0][2] + "\",";
  const auto at = page.find(term);
  ASSERT_NE(at, std::string::npos);
  const std::string whole = page.substr(at, page.find(']', at) - at + 1);
  EXPECT_EQ(nlohmann::json::parse(whole).size(), 3U) << whole;
}

}  // namespace
}  // namespace linex
