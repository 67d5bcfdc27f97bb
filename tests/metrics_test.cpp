// Metrics of concepts against scikit-learn and SciPy, closed forms of the sanity tests.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "linex/error.hpp"
#include "plugins/evaluators/concept_metrics/metrics.hpp"
#include "plugins/evaluators/simulation_correlation/bootstrap.hpp"
#include "plugins/evaluators/simulation_correlation/shortened.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/concepts/matrix_presence.hpp"

namespace linex {
namespace {

std::size_t metric(const std::string& name) {
  for (std::size_t m = 0; m < kMetrics.size(); ++m)
    if (kMetrics[m].name == name) return m;
  throw std::logic_error("no metric " + name);
}

nlohmann::json reference() {
  return nlohmann::json::parse(
      read_file(std::string(LINEX_SOURCE_DIR) + "/tests/fixtures/metrics.json"));
}

TEST(Metrics, EqualScikitLearn) {
  const nlohmann::json expected = reference();
  for (const auto& item : expected["cases"]) {
    const auto a = item["activation"].get<std::vector<float>>(),
               c = item["presence"].get<std::vector<float>>();
    MetricOptions options;
    options.alpha = item["alpha"];
    const auto values =
        concept_metrics({a.data(), c.data(), static_cast<std::int64_t>(a.size())}, options);
    for (const auto& [name, expected] : item["expected"].items())
      EXPECT_NEAR(values[metric(name)], expected.get<double>(), 1e-6)
          << item["name"] << ": " << name;
  }
}

TEST(Metrics, TwoSetsEqualSciPy) {
  const nlohmann::json expected = reference();
  for (const auto& item : expected["two_sets"]) {
    const auto x = item["concept"].get<std::vector<float>>(),
               y = item["control"].get<std::vector<float>>();
    const auto scores = two_set_scores(x.data(), static_cast<std::int64_t>(x.size()), y.data(),
                                       static_cast<std::int64_t>(y.size()));
    EXPECT_NEAR(scores.auc, item["auc"].get<double>(), 1e-12);
    EXPECT_NEAR(scores.p_value, item["p"].get<double>(), 1e-6);
    EXPECT_NEAR(scores.mad, item["mad"].get<double>(), 1e-6);
  }
  const std::vector<float> same(5, 2.0F);
  EXPECT_EQ(two_set_scores(same.data(), 5, same.data(), 5).mad, 0);
  EXPECT_EQ(two_set_scores(same.data(), 5, same.data(), 5).p_value, 1);
  EXPECT_TRUE(std::isnan(two_set_scores(same.data(), 0, same.data(), 5).auc));
}

/// A perfect binary unit that is on with frequency `gamma`, its spoiled concepts and their drops.
struct PerfectUnit {
  explicit PerfectUnit(double gamma, std::int64_t n = 400000) {
    const auto positives = static_cast<std::int64_t>(gamma * static_cast<double>(n));
    std::vector<float> unit(static_cast<std::size_t>(n));
    std::fill(unit.begin(), unit.begin() + positives, 1.0F);
    const auto missing = missing_labels(unit.data(), n, 0.5, 1),
               extra = extra_labels(unit.data(), n, 0.5, 2);
    MetricOptions options;
    options.alpha = gamma;
    trial = {concept_metrics({unit.data(), unit.data(), n}, options),
             concept_metrics({unit.data(), missing.data(), n}, options),
             concept_metrics({unit.data(), extra.data(), n}, options)};
  }
  double missing(const char* name) const { return drop(name, trial.missing); }
  double extra(const char* name) const { return drop(name, trial.extra); }
  double drop(const char* name, const MetricValues& spoiled) const {
    const auto m = metric(name);
    return (spoiled[m] - trial.original[m]) / kMetrics[m].range;
  }
  SanityTrial trial;
};

TEST(Sanity, ClosedForms) {  // docs/methods.md §5.1
  for (const double gamma : {0.499, 0.1, 0.01}) {
    const PerfectUnit unit(gamma);
    const double near = 1.75 / std::sqrt(gamma * 400000);  // 3.5 standard errors of one draw
    const double q = gamma / (1 - gamma);
    for (const char* name : {"f1", "iou", "cosine", "correlation", "recall", "precision"})
      EXPECT_DOUBLE_EQ(unit.trial.original[metric(name)], 1) << name;
    const double rho_missing = std::sqrt((1 - gamma) / (2 - gamma));
    const double rho_extra = std::sqrt((1 - 2 * gamma) / (2 * (1 - gamma)));
    EXPECT_NEAR(unit.missing("correlation"), (rho_missing - 1) / 2, near);
    EXPECT_NEAR(unit.extra("correlation"), (rho_extra - 1) / 2, near);
    EXPECT_NEAR(unit.missing("f1"), -1.0 / 3, near);
    EXPECT_NEAR(unit.extra("f1"), -1.0 / 3, near);
    EXPECT_NEAR(unit.missing("iou"), -0.5, near);
    EXPECT_NEAR(unit.extra("iou"), -0.5, near);
    EXPECT_NEAR(unit.missing("cosine"), (std::sqrt(0.5) - 1) / 2, near);
    EXPECT_NEAR(unit.extra("cosine"), (std::sqrt(0.5) - 1) / 2, near);
    EXPECT_NEAR(unit.missing("recall"), -0.5, near);
    EXPECT_DOUBLE_EQ(unit.extra("recall"), 0);
    EXPECT_DOUBLE_EQ(unit.missing("precision"), 0);
    EXPECT_NEAR(unit.extra("precision"), -0.5, near);
    EXPECT_NEAR(unit.missing("accuracy"), -gamma / 2, near);
    EXPECT_NEAR(unit.extra("accuracy"), -gamma, near);
    EXPECT_NEAR(unit.missing("balanced accuracy"), -0.25, near);
    EXPECT_NEAR(unit.extra("balanced accuracy"), -q / 2, near);
    EXPECT_NEAR(unit.extra("auc"), -q / 2, near);  // mid-ranks
  }
  EXPECT_NEAR(PerfectUnit(0.499).missing("correlation"), -0.2111, 0.003);
  EXPECT_NEAR(PerfectUnit(0.499).extra("correlation"), -0.4777, 0.003);
  EXPECT_NEAR(PerfectUnit(0.1).missing("correlation"), -0.1559, 0.003);
  EXPECT_NEAR(PerfectUnit(0.1).extra("correlation"), -0.1667, 0.003);
}

TEST(Sanity, ReliableMetricsOfThePaperPassOnPerfectUnits) {
  std::vector<SanityTrial> trials;
  for (const double gamma : {0.499, 0.1, 0.01, 0.001})
    trials.push_back(PerfectUnit(gamma, 50000).trial);
  const auto result = judge_sanity(trials);
  EXPECT_EQ(result.units, 4);
  for (const char* name : {"f1", "iou", "correlation", "cosine", "auprc"})
    EXPECT_TRUE(result.reliable[metric(name)]) << name;
  for (const char* name : {"recall", "precision", "accuracy", "inverse auc", "mad"})
    EXPECT_FALSE(result.reliable[metric(name)]) << name;
  EXPECT_EQ(result.extra_pass[metric("recall")], 0);
  EXPECT_EQ(result.missing_pass[metric("precision")], 0);
  EXPECT_EQ(result.missing_pass[metric("recall")], 1);
}

TEST(Sanity, SpoiledConceptsLoseHalfAndGainAsMany) {
  std::vector<float> presence(100000, 0.1F);
  std::fill(presence.begin(), presence.begin() + 20000, 0.9F);
  const auto n = static_cast<std::int64_t>(presence.size());
  const auto count = [](const std::vector<float>& values) {
    return std::count_if(values.begin(), values.end(), [](float v) { return v >= 0.5F; });
  };
  const auto missing = missing_labels(presence.data(), n, 0.5, 7);
  const auto extra = extra_labels(presence.data(), n, 0.5, 7);
  EXPECT_NEAR(static_cast<double>(count(missing)), 10000, 300);
  EXPECT_NEAR(static_cast<double>(count(extra)), 40000, 500);
  for (std::int64_t i = 0; i < n; ++i) {
    EXPECT_LE(missing[i], presence[i]);
    EXPECT_GE(extra[i], presence[i]);
  }
  EXPECT_EQ(missing, missing_labels(presence.data(), n, 0.5, 7));
}

TEST(Metrics, UndefinedOnesAreNoNumbersAndNothingCrashes) {
  const std::vector<float> flat(10, 0.0F), some{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto dead = concept_metrics({flat.data(), some.data(), 10}, {});
  EXPECT_TRUE(std::isnan(dead[metric("correlation")]));
  EXPECT_TRUE(std::isnan(dead[metric("auc")]));  // every row is "on"
  const auto absent = concept_metrics({some.data(), flat.data(), 10}, {});
  EXPECT_TRUE(std::isnan(absent[metric("mad")]));
  EXPECT_TRUE(std::isnan(absent[metric("cosine")]));
  EXPECT_EQ(absent[metric("precision")], 0);  // TP / max(|C|, 1)
  EXPECT_TRUE(std::isnan(absent[metric("inverse auprc")]));
  for (const double value : concept_metrics({nullptr, nullptr, 0}, {}))
    EXPECT_TRUE(std::isnan(value));
  const float one = 1;
  concept_metrics({&one, &one, 1}, {});
}

TEST(Metrics, TopAndRandomIsSeededAndSeesTheTop) {
  Random random(5);
  std::vector<float> a(5000), c(5000);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<float>(random.normal());
    c[i] = a[i] > 2.5F ? 1.0F : 0.0F;  // only the very top matters
  }
  MetricOptions options;
  const auto first = concept_metrics({a.data(), c.data(), 5000}, options);
  EXPECT_EQ(first, concept_metrics({a.data(), c.data(), 5000}, options));
  EXPECT_GT(first[metric("correlation top and random")], 0.7);
  EXPECT_LT(first[metric("correlation")], 0.4);
  options.seed = 1;
  EXPECT_NE(
      first[metric("correlation top and random")],
      concept_metrics({a.data(), c.data(), 5000}, options)[metric("correlation top and random")]);
}

/// Presences as given, concepts "c0", "c1", ...
class Given final : public ConceptLabeler {
 public:
  explicit Given(torch::Tensor presence) : presence_(std::make_shared<MatrixPresence>(presence)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override {
    std::vector<std::string> names;
    for (std::int64_t j = 0; j < presence_->cols(); ++j) names.push_back("c" + std::to_string(j));
    return names;
  }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::shared_ptr<const Presence> presence_;
};

TEST(MetricsPlugin, ScoresUnitsAndTellsWhichMetricsToTrust) {
  torch::manual_seed(1);
  const std::int64_t n = 1500;
  const auto presence = (torch::rand({n, 4}) < 0.08).to(torch::kFloat32);
  Given labeler(presence);
  EvaluationInput input;
  input.activations = presence * 2 + torch::rand({n, 4}) * 0.05;
  input.activations.select(1, 3).zero_();
  for (std::int64_t i = 0; i < n; ++i)
    (i % 2 ? input.split.test : i % 4 ? input.split.val : input.split.train).push_back(i);
  input.simulator = &labeler;
  const auto single = [](std::int64_t unit, const std::string& name) {
    Explanation explanation;
    explanation.unit = unit;
    explanation.terms = {{name, 2.0}};
    explanation.bias = 0.3;
    return explanation;
  };
  input.explanations = {single(0, "c0"), single(1, "c1"),   single(2, "c2"), single(3, "c3"),
                        single(9, "c0"), single(0, "moon"), single(0, "c1")};
  test::Plugins plugins;
  const auto columns =
      plugins.make<Evaluator>("concept_metrics", test::given({{"sanity", true}, {"alpha", 0.08}}))
          ->evaluate(input);
  ASSERT_EQ(columns.size(), kMetrics.size());
  EXPECT_EQ(columns[metric("iou")].name, "iou");
  for (int unit = 0; unit < 3; ++unit) {
    EXPECT_DOUBLE_EQ(columns[metric("inverse auc")].value[unit], 1);
    EXPECT_GT(columns[metric("f1")].value[unit], 0.8);
  }
  EXPECT_EQ(columns[metric("correlation")].status[3], Status::constant);
  EXPECT_EQ(columns[metric("f1")].status[4], Status::unknown_unit);
  EXPECT_EQ(columns[metric("f1")].status[5], Status::unknown_concept);
  EXPECT_LT(columns[metric("f1")].value[6], 0.3);
  const auto said = [&](const std::string& name) {
    for (const auto& line : plugins.log.lines)
      if (line.rfind(name + " ", 0) == 0) return line;
    return std::string();
  };
  EXPECT_FALSE(said("f1").empty());
  EXPECT_EQ(columns[metric("recall")].sanity.at("reliable"), 0);
  EXPECT_EQ(columns[metric("f1")].sanity.at("missing labels"), 1);
  EXPECT_EQ(columns[metric("f1")].sanity.count("extra labels"), 1U);
  EXPECT_NE(said("recall").find("no"), std::string::npos);
  const auto images = plugins.make<Evaluator>(
      "concept_metrics", test::given({{"concept_images", std::string("nowhere")}}));
  EXPECT_THROW(images->evaluate(input), Error);
}

TEST(Bootstrap, IntervalsOfNormalDataAreFishers) {
  torch::manual_seed(4);
  const std::int64_t n = 600;
  const auto x = torch::randn({n, 3});
  auto y = torch::randn({n, 3});
  y.select(1, 0) += 2 * x.select(1, 0);
  y.select(1, 2).fill_(1);
  const auto r = pearson_columns(x, y);
  const auto intervals = bootstrap_pearson(x, y, 2000, 7, 2);
  for (int j = 0; j < 2; ++j) {
    const auto fisher = fisher_interval(r[j], n);
    EXPECT_NEAR(intervals[j].low, fisher.low, 0.015);
    EXPECT_NEAR(intervals[j].high, fisher.high, 0.015);
  }
  EXPECT_TRUE(std::isnan(intervals[2].low));
  const auto again = bootstrap_pearson(x, y, 2000, 7, 1);
  EXPECT_EQ(again[0].low, intervals[0].low);
  EXPECT_EQ(again[1].high, intervals[1].high);
  EXPECT_NE(bootstrap_pearson(x, y, 2000, 8, 1)[0].low, intervals[0].low);
}

TEST(Shortened, LosesTheLeastConceptFirst) {
  torch::manual_seed(3);
  const std::int64_t n = 2000;
  const torch::Tensor presence = (torch::rand({n, 4}) < 0.3).to(torch::kFloat32);
  Given simulator(presence);
  EvaluationInput input;
  input.activations = torch::randn({n, 3});
  input.activations.select(1, 0) +=
      3 * presence.select(1, 0) + 2 * presence.select(1, 1) + presence.select(1, 2);
  input.activations.select(1, 1) += 4 * presence.select(1, 3);
  for (std::int64_t i = 0; i < n; ++i)
    (i % 10 < 7    ? input.split.train
     : i % 10 == 7 ? input.split.val
                   : input.split.test)
        .push_back(i);
  input.simulator = &simulator;
  Explanation three, one, strange;
  three.terms = {{"c2", 9}, {"c0", 0.1}, {"c1", 0.1}};  // weights are fitted again
  one.unit = 1;
  one.terms = {{"c3", 1}};
  strange.unit = 2;
  strange.terms = {{"what", 1}};
  input.explanations = {three, one, strange};
  const auto points = shorten(input, {});
  ASSERT_EQ(points.size(), 3U);
  const torch::Tensor rows = torch::tensor(input.split.test);
  const auto correlation = [&](const torch::Tensor& x, std::int64_t unit) {
    return pearson_columns(
        x.index_select(0, rows).unsqueeze(1).to(torch::kFloat32),
        input.activations.index_select(0, rows).select(1, unit).unsqueeze(1).contiguous())[0];
  };
  const double single = correlation(presence.select(1, 3), 1);
  EXPECT_EQ(points[0].length, 1);
  EXPECT_NEAR(points[0].correlation.mean, (single + correlation(presence.select(1, 0), 0)) / 2,
              1e-6);
  EXPECT_EQ(points[1].length, 1.5);
  EXPECT_NEAR(points[1].correlation.mean,
              (single + correlation(3 * presence.select(1, 0) + 2 * presence.select(1, 1), 0)) / 2,
              5e-3);
  EXPECT_EQ(points[2].length, 2);
  EXPECT_GT(points[2].correlation.mean, points[1].correlation.mean);
  EXPECT_EQ(points[2].correlation.n, 2);
  input.explanations = {strange};
  EXPECT_TRUE(shorten(input, {}).empty());
}

}  // namespace
}  // namespace linex
