// Clarity, twins and redundancy against their definitions.
#include <gtest/gtest.h>

#include <cmath>

#include "plugins/evaluators/clarity/clarity_math.hpp"
#include "tests/small_run.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

torch::Tensor unit_rows(std::int64_t n, std::int64_t width) {
  const auto rows = torch::randn({n, width}) + 0.5;
  return rows / rows.norm(2, 1, true);
}

TEST(Clarity, IsTheMeanOverAllPairs) {
  torch::manual_seed(1);
  constexpr std::int64_t kRows = 60, kUnits = 300;  // more than a block of units
  const auto e = unit_rows(kRows, 16);
  auto a = torch::relu(torch::randn({kRows, kUnits}) - 0.5);
  a.select(1, 1) = torch::randn({kRows}) * 100;  // signed
  a.select(1, 2).fill_(3);                       // never varies
  a.select(1, 3).zero_()[7] = 1;                 // one image, no pair
  const auto found = linex_clarity::clarity(a, e, 2);
  EXPECT_EQ(linex_clarity::clarity(a, e, 1)[5], found[5]);
  EXPECT_TRUE(std::isnan(found[2]));
  EXPECT_TRUE(std::isnan(found[3]));
  for (const std::int64_t unit : {0, 1, 4, 255, 256, 299}) {
    const auto column = a.select(1, unit).to(torch::kFloat64);
    const auto w = (column - column.min()) / (column.max() - column.min());
    double above = 0, below = 0;
    for (std::int64_t i = 0; i < kRows; ++i)
      for (std::int64_t j = 0; j < kRows; ++j) {
        if (i == j) continue;
        const double weight = w[i].item<double>() * w[j].item<double>();
        above +=
            weight * (e[i].to(torch::kFloat64) * e[j].to(torch::kFloat64)).sum().item<double>();
        below += weight;
      }
    EXPECT_NEAR(found[static_cast<std::size_t>(unit)], above / below, 1e-9) << unit;
  }
  // Equal weights are the mean of all pairs.
  EXPECT_NEAR(linex_clarity::mean_cosine(e),
              linex_clarity::clarity(torch::cat({torch::zeros({1, 1}), torch::ones({kRows, 1})}),
                                     torch::cat({e.narrow(0, 0, 1), e}), 1)[0],
              1e-9);
}

TEST(Twins, AreTheMostAlikeInActivationAndExplanation) {
  torch::manual_seed(2);
  constexpr std::int64_t kRows = 80, kUnits = 40;
  auto a = torch::randn({kRows, kUnits});
  std::vector<Explanation> explanations(kUnits);
  for (std::int64_t i = 0; i < kUnits; ++i) {
    auto& terms = explanations[static_cast<std::size_t>(i)].terms;
    terms = {{"c" + std::to_string(i % 11), 1.0 + 0.1 * static_cast<double>(i)},
             {"c" + std::to_string(i % 7), 1.0}};
  }
  a.select(1, 9) = a.select(1, 4) + 0.1 * torch::randn({kRows});
  a.select(1, 12).fill_(2);  // dead: no twin, nobody's twin
  explanations[13].terms.clear();
  explanations[14].terms.clear();
  explanations[14].text = "c3";  // a text is one concept
  const auto found = linex_clarity::twins(a, explanations, 1 << 20, 2);
  const auto z = a.to(torch::kFloat64);
  for (std::int64_t i = 0; i < kUnits; ++i) {
    const auto& twin = found[static_cast<std::size_t>(i)];
    if (i == 12 || i == 13) {
      EXPECT_EQ(twin.index, -1);
      continue;
    }
    double best = -1;
    std::int64_t expected = -1;
    for (std::int64_t j = 0; j < kUnits; ++j) {
      if (j == i || j == 12 || j == 13) continue;
      const auto x = z.select(1, i) - z.select(1, i).mean(),
                 y = z.select(1, j) - z.select(1, j).mean();
      const double r = ((x * y).sum() / (x.norm() * y.norm())).item<double>();
      std::map<std::string, std::pair<double, double>> weights;
      const auto fill = [&](std::int64_t unit, bool first) {
        const auto& explanation = explanations[static_cast<std::size_t>(unit)];
        if (!explanation.text.empty()) (first ? weights["c3"].first : weights["c3"].second) = 1;
        for (const auto& term : explanation.terms)
          (first ? weights[term.concept_name].first : weights[term.concept_name].second) +=
              term.weight;
      };
      fill(i, true);
      fill(j, false);
      double dot = 0, one = 0, two = 0;
      for (const auto& [name, pair] : weights)
        dot += pair.first * pair.second, one += pair.first * pair.first,
            two += pair.second * pair.second;
      const double alike = 0.5 * (std::max(r, 0.0) + std::max(dot / std::sqrt(one * two), 0.0));
      if (alike > best + 1e-9) best = alike, expected = j;
    }
    EXPECT_EQ(twin.index, expected) << i;
    EXPECT_NEAR(0.5 * (std::max(twin.correlation, 0.0) + twin.cosine), best, 1e-6) << i;
  }
  EXPECT_EQ(linex_clarity::twins(a, explanations, 1 << 30, 1)[7].index, found[7].index);
}

class ClarityRun : public SmallRun {};

TEST_F(ClarityRun, ScoresUnitsOfARunAndNamesTheirTwins) {
  torch::manual_seed(3);
  write_npy(folder_ / "E.npy", torch::randn({kRows, 12}));
  const Ended ended = run("explain " + recorded_ +
                          "--run.out=out --evaluator.plugin=simulation_correlation,clarity "
                          "--evaluator.embeddings=E.npy");
  ASSERT_EQ(ended.code, 0) << ended.error;
  const auto file = read_explanations(folder_ / "out/explanations.csv");
  std::vector<std::string> names;
  for (const auto& score : file.scores) names.push_back(score.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"sim correlation", "clarity", "clarity gain", "redundancy"}));
  const auto twins = read_csv(folder_ / "out/twins.csv");
  EXPECT_EQ(twins.rows.size(), static_cast<std::size_t>(kUnits));
  expect_error("explain " + recorded_ + "--run.out=two --evaluator.plugin=clarity", 2,
               "evaluator.embeddings");
  write_npy(folder_ / "short.npy", torch::randn({kRows - 1, 12}));
  expect_error("explain " + recorded_ +
                   "--run.out=two --evaluator.plugin=clarity --evaluator.embeddings=short.npy",
               3, "59 embeddings for 60 images");
}

}  // namespace
}  // namespace linex
