// Ablation scoring: its arithmetic, any layer of a network, and the published numbers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "linex/error.hpp"
#include "shared_file.hpp"
#include "tests/test_plugins.hpp"
#include "tests/toy_model.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/intervention/ablation.hpp"
#include "toolkit/intervention/impact.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using namespace intervention;
using test::activations_of;
using test::given;
using test::Pictures;
using test::Plugins;
using test::Toy;

class AblationMath : public ::testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(3);
    logits = torch::randn({50, 7}) * 3;
    labels = torch::randint(7, {50}, torch::kInt64);
    actual = torch::rand({50});
    weight = torch::randn({7});
  }
  torch::Tensor logits, labels, actual, weight;
};

TEST_F(AblationMath, LinearResponseIsTheLossOfChangedLogits) {
  const double temperature = 1.3;
  LinearResponse response(logits, labels, actual, weight, temperature);
  const auto s = torch::randn({50});
  std::vector<double> loss(50), slope(50);
  response.evaluate(s.data_ptr<float>(), loss.data(), slope.data());
  const float step = 1e-2F;
  const auto at = response.loss(s), above = response.loss(s + step),
             below = response.loss(s - step);
  for (int i = 0; i < 50; ++i) {
    double total = 0;
    std::vector<double> z(7);
    for (int c = 0; c < 7; ++c) {
      z[c] = (logits[i][c].item<double>() +
              (s[i].item<double>() - actual[i].item<double>()) * weight[c].item<double>()) /
             temperature;
      total += std::exp(z[c]);
    }
    const double expected = std::log(total) - z[labels[i].item<int>()];
    EXPECT_NEAR(loss[i], expected, 1e-5);
    EXPECT_NEAR(at[i].item<double>(), expected, 1e-12);
    EXPECT_NEAR(slope[i], ((above[i] - below[i]) / (2 * step)).item<double>(), 1e-4);
  }
}

TEST_F(AblationMath, TabulatedResponseApproachesTheExactOne) {
  LinearResponse exact(logits, labels, actual, weight, 1.1);
  const auto s = torch::linspace(-0.99, 2.99, 50);
  std::vector<double> truth(50), slope(50), near(50), near_slope(50);
  exact.evaluate(s.data_ptr<float>(), truth.data(), slope.data());
  double before = 1e9;
  for (const std::int64_t count : {4, 8, 16}) {
    auto values = torch::empty({count, 50}), odds = torch::empty({count, 50}, torch::kFloat64);
    const auto at = TabulatedResponse::nodes(-1, 3, count);
    EXPECT_TRUE(std::is_sorted(at.begin(), at.end()));
    for (std::int64_t j = 0; j < count; ++j) {
      values[j].fill_(at[static_cast<std::size_t>(j)]);
      odds[j] = log_odds_rows(logits + (values[j] - actual).unsqueeze(1) * weight, labels, 1.1);
    }
    TabulatedResponse table(values, odds);
    table.evaluate(s.data_ptr<float>(), near.data(), near_slope.data());
    double error = 0;
    for (int i = 0; i < 50; ++i) error = std::max<double>(error, std::abs(near[i] - truth[i]));
    EXPECT_LT(error, before / 4);
    before = error;
  }
  EXPECT_LT(before, 1e-5);
  for (int i = 0; i < 50; ++i) EXPECT_NEAR(near_slope[i], slope[i], 1e-4);
}

TEST_F(AblationMath, TabulatedResponseGoesThroughItsValues) {
  // Log odds of x³ for the first image, through values in any order, two of them equal; a constant
  // beside it.
  const auto values =
      torch::tensor({{2.0F, 5.0F}, {-1.0F, 5.0F}, {0.5F, 5.0F}, {2.0F, 5.0F}, {1.0F, 5.0F}});
  const auto odds = torch::tensor({{8.0, 7.0}, {-1.0, 7.0}, {0.125, 7.0}, {8.0, 7.0}, {1.0, 7.0}},
                                  torch::kFloat64);
  const auto loss_at = [](double odds) { return std::log1p(std::exp(-odds)); };
  TabulatedResponse table(values, odds);
  for (const float x : {-1.0F, 0.0F, 0.5F, 1.5F, 2.0F}) {
    const float s[] = {x, 5.0F};
    double loss[2], slope[2];
    table.evaluate(s, loss, slope);
    EXPECT_NEAR(loss[0], loss_at(x * x * x), 1e-6);
    EXPECT_NEAR(slope[0], -3 * x * x / (1 + std::exp(x * x * x)), 1e-5);
    EXPECT_EQ(loss[1], loss_at(7));
    EXPECT_EQ(slope[1], 0);
  }
  const float beyond[] = {4.0F, 9.0F};  // the tangent at 2
  double loss[2], slope[2];
  table.evaluate(beyond, loss, slope);
  EXPECT_NEAR(loss[0] / loss_at(8 + 12 * 2), 1, 1e-3);
  EXPECT_EQ(loss[1], loss_at(7));
}

TEST_F(AblationMath, LossesKeepTheirDigitsWhereTheyAreAllButZero) {
  // A label ahead by 30, 0 and -200: exp(-30), log 2 and 200, as no float32 softmax has them.
  const auto z = torch::tensor({{30.0F, 0.0F}, {0.0F, 0.0F}, {-200.0F, 0.0F}});
  const auto first = torch::zeros({3}, torch::kInt64);
  const auto loss = cross_entropy_rows(z, first, 1);
  EXPECT_NEAR(loss[0].item<double>() / std::exp(-30.0), 1, 1e-6);
  EXPECT_NEAR(loss[1].item<double>(), std::log(2.0), 1e-7);
  EXPECT_NEAR(loss[2].item<double>(), 200, 1e-4);
  const auto slow = -torch::log_softmax(logits.to(torch::kFloat64) / 1.1, 1)
                         .gather(1, labels.unsqueeze(1))
                         .squeeze(1);
  EXPECT_TRUE(torch::allclose(cross_entropy_rows(logits, labels, 1.1), slow, 1e-5, 1e-9));
  // One class is always right.
  EXPECT_EQ(cross_entropy_rows(z.narrow(1, 0, 1), first, 1).abs().max().item<double>(), 0);
  LinearResponse alone(z.narrow(1, 0, 1), first, torch::ones({3}), torch::ones({1}), 1);
  const float s[] = {0.5F, 1.0F, 2.0F};
  double losses[3], slopes[3];
  alone.evaluate(s, losses, slopes);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(losses[i], 0);
    EXPECT_EQ(slopes[i], 0);
  }
}

TEST_F(AblationMath, TemperatureOfScaledLogitsIsFound) {
  // Labels drawn from softmax(z): the best temperature of 2.5·z is 2.5.
  const auto z = torch::randn({20000, 5});
  const auto drawn = torch::multinomial(torch::softmax(z, 1), 1).squeeze(1);
  const double one = fit_temperature(z, drawn), scaled = fit_temperature(z * 2.5, drawn);
  EXPECT_NEAR(one, 1, 0.05);
  EXPECT_NEAR(scaled, 2.5 * one, 1e-3);
}

TEST_F(AblationMath, PerfectSimulationKeepsEverythingAndTheMeanNothing) {
  LinearResponse response(logits, labels, actual, weight, 1.1);
  const auto original = cross_entropy_rows(logits, labels, 1.1);
  const auto loss = [&](const torch::Tensor& s) { return response.loss(s); };
  const auto averaged = loss(torch::full({50}, actual.mean().item<float>()));
  EXPECT_NEAR(ablation_score(loss(actual), averaged, original), 1, 1e-4);
  EXPECT_EQ(ablation_score(averaged, averaged, original), 0);
  EXPECT_TRUE(std::isnan(ablation_score(averaged, original, original)));
  // A simulation off by scale and offset is calibrated towards the truth.
  const auto wrong = actual / 1.5 - 0.2;
  const auto fit = calibrate(response, wrong, original, {400, 1e-2});
  EXPECT_NEAR(fit.scale, 1.5, 0.05);
  EXPECT_NEAR(fit.offset, 0.3, 0.05);
  ASSERT_EQ(fit.path.size(), 401U);
  const auto visited = visited_range(0.5, fit);
  for (const auto& [scale, offset] : fit.path) {
    EXPECT_LE(visited.low, 0.5 * scale + offset);
    EXPECT_GE(visited.high, 0.5 * scale + offset);
  }
  EXPECT_FALSE(normalise_simulation(torch::full({5}, 0.3F), 0, 1, 1).defined());
  const auto matched = normalise_simulation(wrong, 2, 0.5, 0.8);
  EXPECT_NEAR(matched.mean().item<double>(), 2, 1e-5);
  EXPECT_NEAR(matched.std().item<double>(), 0.4, 1e-5);
}

Explanation explain(std::int64_t unit, std::vector<Term> terms, double bias) {
  Explanation explanation;
  explanation.unit = unit;
  explanation.terms = std::move(terms);
  explanation.bias = bias;
  return explanation;
}

class AblationPlugin : public ::testing::Test {
 protected:
  void SetUp() override {
    data = std::make_shared<Pictures>(120, 16, 4);
    model = std::make_shared<Toy>();
    labeler = plugins.make<ConceptLabeler>("label");
    labeler->attach(data);
    input.pool = Pool::avg;
    input.data = data;
    input.model = model.get();
    input.simulator = labeler.get();
    for (std::int64_t i = 0; i < 120; ++i)
      (i % 3 == 0   ? input.split.train
       : i % 3 == 1 ? input.split.val
                    : input.split.test)
          .push_back(i);
  }
  void use_layer(const std::string& layer) {
    input.layer = layer;
    input.activations = activations_of(*model, data, layer);
    input.explanations.clear();
    for (std::int64_t unit = 0; unit < input.activations.size(1); ++unit) {
      const auto actual = input.activations.select(1, unit);
      const double spread = actual.std().item<double>();
      input.explanations.push_back(explain(unit, {{"class 1", spread}, {"class 3", -spread / 2}},
                                           actual.mean().item<double>()));
    }
  }
  std::vector<ScoreColumn> scores(const OptionValues& options) {
    return plugins.make<Evaluator>("simulation_ablation", options)->evaluate(input);
  }

  Plugins plugins;
  std::shared_ptr<const DataSet> data;
  std::shared_ptr<TargetModel> model;
  std::shared_ptr<ConceptLabeler> labeler;
  EvaluationInput input;
};

TEST_F(AblationPlugin, LinearHeadEqualsTheGeneralPath) {
  use_layer("second");
  const auto compare = [this](OptionValues options, double tolerance) {
    const auto quick = scores(options);
    options.set("head", std::string("general"));
    const auto general = scores(options);
    ASSERT_EQ(quick.size(), 2U);
    EXPECT_EQ(quick[0].name, "sim ablation(optim)");
    EXPECT_EQ(quick[1].name, "sim ablation(norm)");
    for (int mode = 0; mode < 2; ++mode)
      for (std::size_t i = 0; i < quick[0].value.size(); ++i) {
        ASSERT_EQ(quick[mode].status[i], Status::ok);
        ASSERT_EQ(general[mode].status[i], Status::ok);
        EXPECT_NEAR(quick[mode].value[i], general[mode].value[i], mode == 1 ? 1e-5 : tolerance)
            << quick[mode].name << " unit " << i;
      }
  };
  compare(given({{"steps", std::int64_t{0}}}), 1e-5);
  // Some of these units are chaotic after more steps: Adam ends where signs flip, and a slope 1e-7
  // off moves the end.
  compare(given({{"steps", std::int64_t{20}}}), 5e-4);
}

TEST_F(AblationPlugin, EarlierLayersRunTheRestOfTheNetwork) {
  use_layer("first");
  // Slow version, one image and unit at a time, through the network's own tail.
  const auto norm = scores(given({{"mode", std::string("norm")}}));
  ASSERT_EQ(norm.size(), 1U);
  const auto& test = input.split.test;
  const auto val = input.activations.index_select(0, torch::tensor(input.split.val));
  const auto images = load_batch(*data, test, model->preprocess(), 1);
  std::vector<std::int64_t> classes;
  for (const auto row : test) classes.push_back(data->labels()[row]);
  const auto labels = torch::tensor(classes);
  const auto tail = model->split(images, "first");
  const auto original = cross_entropy_rows(tail->logits(tail->activation()), labels, 1.1);
  for (const std::int64_t unit : {0, 1}) {
    const auto loss = [&](const torch::Tensor& wanted) {
      auto output = tail->activation().clone();
      for (std::int64_t i = 0; i < output.size(0); ++i)
        output[i][unit] += wanted[i] - output[i][unit].mean();
      return cross_entropy_rows(tail->logits(output), labels, 1.1);
    };
    std::vector<float> predicted, predicted_val;
    const auto predict = [&](std::int64_t row) {
      const auto label = data->labels()[row];
      const auto& explanation = input.explanations[static_cast<std::size_t>(unit)];
      return static_cast<float>(explanation.bias + (label == 1   ? explanation.terms[0].weight
                                                    : label == 3 ? explanation.terms[1].weight
                                                                 : 0.0));
    };
    for (const auto row : test) predicted.push_back(predict(row));
    for (const auto row : input.split.val) predicted_val.push_back(predict(row));
    const auto s = torch::tensor(predicted), s_val = torch::tensor(predicted_val);
    const auto a = val.select(1, unit);
    const double rho = (((s_val - s_val.mean()) * (a - a.mean())).sum() /
                        ((s_val - s_val.mean()).norm() * (a - a.mean()).norm()))
                           .item<double>();
    const double mean = a.mean().item<double>();
    const auto simulated = (s - s.mean()) / s.std() * a.std() * rho + mean;
    const double expected = 1 - ((loss(simulated) - original).abs().sum() /
                                 (loss(torch::full_like(s, mean)) - original).abs().sum())
                                    .item<double>();
    EXPECT_NEAR(norm[0].value[static_cast<std::size_t>(unit)], expected, 1e-4) << unit;
  }
}

TEST_F(AblationPlugin, TabulatedFitIsCloseToAFineOne) {
  use_layer("first");
  const auto coarse = scores(given({{"mode", std::string("optim")}}));
  const auto fine = scores(given({{"mode", std::string("optim")}, {"nodes", std::int64_t{64}}}));
  for (std::size_t i = 0; i < coarse[0].value.size(); ++i)
    if (coarse[0].status[i] == Status::ok) {
      EXPECT_NEAR(coarse[0].value[i], fine[0].value[i], 0.1 * (1 + std::abs(fine[0].value[i])));
    }
}

TEST_F(AblationPlugin, SameBytesWhateverTheThreads) {
  use_layer("first");
  const auto two = scores({});
  plugins.run.threads = 1;
  const auto one = scores({});
  EXPECT_EQ(two[0].value, one[0].value);
  EXPECT_EQ(two[1].value, one[1].value);
}

TEST_F(AblationPlugin, UnitsThatCannotBeScoredSaySo) {
  use_layer("first");
  input.explanations = {explain(0, {{"class 1", 1.0}}, 0), explain(999, {{"class 1", 1.0}}, 0),
                        explain(1, {{"zebra", 1.0}}, 0),   explain(2, {}, 0),
                        explain(0, {{"class 1", 1.0}}, 0), explain(3, {{"class 1", 0.0}}, 0.5)};
  input.activations.select(1, 4).zero_();
  const auto columns = scores({});
  const auto& norm = columns[1];
  EXPECT_EQ(norm.status[1], Status::unknown_unit);
  EXPECT_EQ(norm.status[2], Status::unknown_concept);
  EXPECT_EQ(norm.status[3], Status::empty);
  EXPECT_EQ(norm.value[0], norm.value[4]);  // the same unit twice
  EXPECT_EQ(norm.status[5], Status::constant);
  EXPECT_EQ(columns[0].status[5], Status::ok);  // a constant can still be fitted
  EXPECT_TRUE(std::isnan(norm.value[5]));

  input.model = nullptr;
  EXPECT_THROW(scores({}), Error);
}

TEST(Impact, SharesFollowThePublishedFormula) {
  // Four images; removing the unit loses image 1 and doubles the loss of image 3.
  const auto activation = torch::tensor({0.1F, 3.0F, 0.2F, 2.0F});
  const RemovalEffect effect{torch::tensor({1.0, 1.0, 1.0, 1.0}, torch::kFloat64),
                             torch::tensor({1.0, 1.0, 1.0, 2.0}, torch::kFloat64),
                             torch::tensor({1, 1, 0, 0}, torch::kUInt8),
                             torch::tensor({1, 0, 0, 0}, torch::kUInt8)};
  // Impacts ½·1/2 for image 1 (activation rank 0) and ½·1/4 for image 3 (rank 1).
  const auto shares = impact_shares(activation, effect, {0.0, 0.25, 0.5, 0.99});
  EXPECT_NEAR(shares[0], 2.0 / 3, 1e-12);  // int(0·4) + 1 = 1 image
  EXPECT_NEAR(shares[1], 1, 1e-12);
  EXPECT_NEAR(shares[3], 1, 1e-12);
  const RemovalEffect none{effect.loss, effect.loss, effect.correct, effect.correct};
  EXPECT_TRUE(std::isnan(impact_shares(activation, none, {0.5})[0]));
  // Dead is what does not vary, whatever the scale: 0.3 with rounding noise is, 1e-5 is not.
  const auto activations =
      torch::tensor({{0.0F, 0.0F, 0.3F, -2.0F}, {0.009F, 0.0F, 0.3000001F, 4.0F}});
  for (const float scale : {1e-30F, 1e-3F, 1.0F, 1e30F})
    EXPECT_EQ(dead_units(activations * scale, {0, 1, 2, 3}), (std::vector<std::int64_t>{1, 2}))
        << scale;
}

TEST_F(AblationPlugin, ImpactOfALastLayerIsThatOfTheGeneralPath) {
  use_layer("second");
  const std::vector<std::int64_t> units{0, 3, 5};
  const std::vector<double> cuts{0.01, 0.1, 0.5};
  HostContext context({}, plugins.run, plugins.log, true);
  const auto quick = measure_impact({*model, data, "second", Pool::avg, Fill::constant},
                                    input.activations, units, cuts, 1.1, context);
  // A pool the shortcut does not know: the network runs.
  const auto slow = measure_impact({*model, data, "second", Pool::max, Fill::constant},
                                   input.activations, units, cuts, 1.1, context);
  for (std::size_t u = 0; u < units.size(); ++u)
    for (std::size_t c = 0; c < cuts.size(); ++c) EXPECT_NEAR(quick[u][c], slow[u][c], 1e-4);
}

TEST(AblationGolden, PublishedScoresOfResNet20) {
  const fs::path golden = shared_file("golden/resnet20_cifar10"),
                 pictures = shared_file("data/cifar10/test"),
                 weights = shared_file("data/weights/resnet20-12fca82f.th");
  if (golden.empty() || pictures.empty() || weights.empty()) GTEST_SKIP() << "no golden files";
  const auto json = nlohmann::json::parse(read_file(golden / "ablation.json"));
  Plugins plugins;
  EvaluationInput input;
  DataOptions where;
  where.root = pictures;
  where.threads = 2;
  input.data = open_data_set(where);
  const auto model = plugins.make<TargetModel>("resnet", given({{"weights", weights.string()}}));
  const auto labeler = plugins.make<ConceptLabeler>("label");
  labeler->attach(input.data);
  input.model = model.get();
  input.simulator = labeler.get();
  input.layer = "layer3";
  input.pool = Pool::avg;
  input.activations = map_npy(golden / "layer3_avg.npy");
  const auto ids = [&](const char* name) {
    const auto tensor = map_npy(golden / (std::string(name) + "_ids.npy")).to(torch::kInt64);
    return Rows(tensor.data_ptr<std::int64_t>(), tensor.data_ptr<std::int64_t>() + tensor.numel());
  };
  input.split = {ids("train"), ids("val"), ids("test")};
  for (const auto& row : json["rows"]) {
    std::vector<Term> terms;
    for (std::size_t t = 0; t < row["concepts"].size(); ++t)
      terms.push_back({row["concepts"][t].get<std::string>(), row["weights"][t].get<double>()});
    input.explanations.push_back(explain(row["unit"], terms, row["bias"]));
  }
  const auto ablation =
      plugins
          .make<Evaluator>("simulation_ablation",
                           given({{"temperature", json["temperature"].get<double>()}}))
          ->evaluate(input);
  const auto correlation = plugins.make<Evaluator>("simulation_correlation")->evaluate(input);
  const auto general =
      plugins
          .make<Evaluator>("simulation_ablation",
                           given({{"temperature", json["temperature"].get<double>()},
                                  {"head", std::string("general")}}))
          ->evaluate(input);
  for (std::size_t i = 0; i < json["rows"].size(); ++i) {
    EXPECT_NEAR(general[1].value[i], ablation[1].value[i], 1e-5);
    EXPECT_NEAR(general[0].value[i], ablation[0].value[i], 1e-4);
    const auto& row = json["rows"][i];
    EXPECT_NEAR(correlation[0].value[i], row["sim_correlation"].get<double>(), 1e-4);
    EXPECT_NEAR(ablation[1].value[i], row["ablation_norm"].get<double>(), 1e-4);
    EXPECT_NEAR(ablation[0].value[i], row["ablation_optim"].get<double>(), 2e-3) << row["unit"];
  }
}

}  // namespace
}  // namespace linex
