// The ceiling: exact for labels, an estimate that planted models respect for soft presence.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "linex/error.hpp"
#include "linex/evaluator.hpp"
#include "plugins/evaluators/ceiling/unit_ceiling.hpp"
#include "shared_file.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/concepts/matrix_presence.hpp"

namespace linex {
namespace {

Split split_of(std::int64_t n) {
  Split split;
  for (std::int64_t i = 0; i < n; ++i)
    (i % 10 < 7 ? split.train : i % 10 == 7 ? split.val : split.test).push_back(i);
  return split;
}

std::vector<std::int64_t> columns_of(const torch::Tensor& matrix) {
  std::vector<std::int64_t> columns;
  for (std::int64_t j = 0; j < matrix.size(1); ++j) columns.push_back(j);
  return columns;
}

UnitCeilings ceilings(const torch::Tensor& presence, const torch::Tensor& activations,
                      const Split& split, int threads = 2) {
  const MatrixPresence source(presence);
  CeilingOptions options;
  options.moments.threads = threads;
  options.landmarks = 256;
  return unit_ceilings({source, activations, columns_of(activations), split}, options);
}

torch::Tensor rows_of(const torch::Tensor& matrix, const Rows& rows) {
  return matrix.index_select(0, torch::tensor(rows));
}

/// Predictions by the mean of a row's class over the training rows, the obvious way.
torch::Tensor class_means(const torch::Tensor& labels, const torch::Tensor& activations,
                          const Split& split) {
  const torch::Tensor train = rows_of(labels, split.train), test = rows_of(labels, split.test);
  const torch::Tensor values = rows_of(activations, split.train).to(torch::kDouble);
  torch::Tensor predicted = torch::zeros({test.size(0), activations.size(1)}, torch::kDouble);
  for (std::int64_t c = 0; c <= labels.max().item<std::int64_t>(); ++c) {
    const torch::Tensor here = train == c;
    if (here.any().item<bool>()) predicted.index_put_({test == c}, values.index({here}).mean(0));
  }
  return predicted;
}

double pearson(torch::Tensor x, torch::Tensor y) {
  x = x.to(torch::kDouble) - x.to(torch::kDouble).mean();
  y = y.to(torch::kDouble) - y.to(torch::kDouble).mean();
  return ((x * y).sum() / (x.norm() * y.norm())).item<double>();
}

void expect_class_means(const torch::Tensor& labels, const torch::Tensor& presence,
                        const torch::Tensor& activations, const Split& split) {
  const UnitCeilings found = ceilings(presence, activations, split);
  EXPECT_TRUE(found.exact);
  EXPECT_EQ(found.cells, labels.max().item<std::int64_t>() + 1);
  const torch::Tensor predicted = class_means(labels, activations, split),
                      actual = rows_of(activations, split.test);
  for (std::int64_t k = 0; k < activations.size(1); ++k)
    EXPECT_NEAR(found.correlation[static_cast<std::size_t>(k)],
                pearson(predicted.select(1, k), actual.select(1, k)), 1e-9)
        << "unit " << k;
}

/// One column a class and one for each pair of classes.
torch::Tensor label_presence(const torch::Tensor& labels, std::int64_t classes) {
  torch::Tensor presence = torch::zeros({labels.size(0), classes + classes / 2});
  for (std::int64_t c = 0; c < classes; ++c) {
    presence.select(1, c).copy_(labels == c);
    presence.select(1, classes + std::min(c / 2, classes / 2 - 1)).add_(labels == c);
  }
  return presence;
}

TEST(Ceiling, OfLabelsIsTheClassMeans) {
  torch::manual_seed(1);
  const std::int64_t n = 4000, classes = 10;
  const torch::Tensor labels = torch::randint(classes, {n}, torch::kLong);
  const torch::Tensor means = torch::randn({classes, 20}) + 1000;
  const torch::Tensor activations = means.index_select(0, labels) + torch::randn({n, 20});
  expect_class_means(labels, label_presence(labels, classes), activations, split_of(n));
}

TEST(Ceiling, OfCifarLabelsIsTheClassMeans) {
  const auto golden = shared_file("golden/resnet20_cifar10");
  if (golden.empty()) GTEST_SKIP() << "no golden files";
  const torch::Tensor labels = map_npy(golden / "labels.npy").to(torch::kLong);
  const auto ids = [&](const char* name) {
    const torch::Tensor values = map_npy(golden / name);
    return Rows(values.data_ptr<std::int64_t>(), values.data_ptr<std::int64_t>() + values.numel());
  };
  const Split split{ids("train_ids.npy"), ids("val_ids.npy"), ids("test_ids.npy")};
  expect_class_means(labels, label_presence(labels, 10), map_npy(golden / "layer3_avg.npy"), split);
}

TEST(Ceiling, WithFewRowsAClassShrinksTheirMeans) {
  torch::manual_seed(2);
  const std::int64_t n = 2000, classes = 150, units = 24;  // nine training rows a class
  const torch::Tensor labels = torch::randint(classes, {n}, torch::kLong);
  const torch::Tensor means = 0.5 * torch::randn({classes, units});
  const torch::Tensor activations = means.index_select(0, labels) + torch::randn({n, units});
  const Split split = split_of(n);
  const UnitCeilings found = ceilings(label_presence(labels, classes), activations, split);
  EXPECT_FALSE(found.exact);
  const torch::Tensor plain = class_means(labels, activations, split),
                      actual = rows_of(activations, split.test);
  double difference = 0;
  for (std::int64_t k = 0; k < units; ++k)
    difference += found.correlation[static_cast<std::size_t>(k)] -
                  pearson(plain.select(1, k), actual.select(1, k));
  EXPECT_GT(difference / static_cast<double>(units), -0.005);
}

/// Soft, correlated presence.
torch::Tensor soft_presence(std::int64_t n, std::int64_t concepts) {
  return torch::sigmoid(
      3 * (torch::randn({n, concepts}) + torch::randn({n, 3}).mm(torch::randn({3, concepts}))) - 2);
}

TEST(Ceiling, IsNotBelowPlantedModels) {
  torch::manual_seed(3);
  const std::int64_t n = 4000, concepts = 80, units = 60;
  const torch::Tensor presence = soft_presence(n, concepts);
  torch::Tensor planted = torch::zeros({n, units});
  for (std::int64_t k = 0; k < units; ++k)
    for (std::int64_t t = 0; t < 1 + k % 5; ++t)
      planted.select(1, k) +=
          (1 + 0.5 * static_cast<double>(t)) * presence.select(1, (k * 31 + t * 17) % concepts);
  for (const double noise : {0.3, 1.0, 3.0}) {
    const torch::Tensor activations = planted + noise * planted.std(0) * torch::randn({n, units});
    const Split split = split_of(n);
    const UnitCeilings found = ceilings(presence, activations, split);
    const torch::Tensor model = rows_of(planted, split.test),
                        actual = rows_of(activations, split.test);
    int respected = 0;
    double difference = 0;
    for (std::int64_t k = 0; k < units; ++k) {
      const double ceiling = found.correlation[static_cast<std::size_t>(k)];
      const double best = pearson(model.select(1, k), actual.select(1, k));
      const double error = (1 - best * best) / std::sqrt(static_cast<double>(split.test.size()));
      respected += ceiling > best - 2 * error;
      difference += (ceiling - best) / units;
    }
    EXPECT_GE(respected, 0.95 * units) << "noise " << noise;
    // What was planted is the best there is: an estimate above it would be no better than one
    // below.
    EXPECT_GT(difference, -0.015) << "noise " << noise;
    EXPECT_LT(difference, 0.005) << "noise " << noise;
  }
}

TEST(Ceiling, SeesWhatSumsOfConceptsCannotSay) {
  torch::manual_seed(4);
  const std::int64_t n = 3000, concepts = 12;
  const torch::Tensor presence = (torch::rand({n, concepts}) < 0.5).to(torch::kFloat32);
  const torch::Tensor soft = soft_presence(n, concepts);
  const auto odd = [](const torch::Tensor& p) {
    const torch::Tensor a = p.select(1, 0), b = p.select(1, 1);
    return (a + b - 2 * a * b).unsqueeze(1);
  };
  const Split split = split_of(n);
  const UnitCeilings hard = ceilings(presence, odd(presence) + 0.2 * torch::randn({n, 1}), split);
  EXPECT_GT(hard.correlation[0], 0.8);  // sums reach 0
  const UnitCeilings smooth = ceilings(soft, odd(soft) + 0.05 * torch::randn({n, 1}), split);
  EXPECT_EQ(smooth.by[0], "kernel ridge");
  EXPECT_GT(smooth.correlation[0], 0.85);
}

TEST(Ceiling, OfNoiseIsNearZero) {
  torch::manual_seed(5);
  const std::int64_t n = 3000;
  const UnitCeilings found = ceilings(soft_presence(n, 60), torch::randn({n, 20}), split_of(n));
  double mean = 0;
  for (const double value : found.correlation) mean += value / 20;
  EXPECT_NEAR(mean, 0, 0.03);
}

TEST(Ceiling, TiedConceptsAndThreadsChangeNothing) {
  torch::manual_seed(6);
  const std::int64_t n = 1500;
  const torch::Tensor presence = soft_presence(n, 30);
  const torch::Tensor twice = torch::cat({presence, presence, torch::ones({n, 1})}, 1);
  const torch::Tensor activations = presence.narrow(1, 0, 6) + 0.3 * torch::randn({n, 6});
  const Split split = split_of(n);
  const UnitCeilings once = ceilings(twice, activations, split, 1),
                     again = ceilings(twice, activations, split, 3);
  EXPECT_EQ(once.correlation, again.correlation);
  const UnitCeilings alone = ceilings(presence, activations, split);
  for (std::size_t k = 0; k < 6; ++k) EXPECT_NEAR(once.correlation[k], alone.correlation[k], 5e-3);
}

TEST(Ceiling, ReportsUnitsThatHaveNone) {
  torch::manual_seed(7);
  const std::int64_t n = 500;
  const Split split = split_of(n);
  torch::Tensor activations = torch::randn({n, 4});
  activations.select(1, 1).fill_(3);
  for (const std::int64_t row : split.test) activations[row][2] = 1;
  for (const std::int64_t row : split.train) activations[row][3] = 1;
  const UnitCeilings found = ceilings(soft_presence(n, 10), activations, split);
  EXPECT_EQ(found.status,
            (std::vector<Status>{Status::ok, Status::dead, Status::constant, Status::constant}));
  for (std::size_t k = 1; k < 4; ++k) EXPECT_TRUE(std::isnan(found.correlation[k]));
}

/// A labeler over a matrix.
class Matrix final : public ConceptLabeler {
 public:
  Matrix(torch::Tensor presence, std::vector<std::string> names)
      : presence_(std::make_shared<MatrixPresence>(std::move(presence))),
        names_(std::move(names)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::shared_ptr<const Presence> presence_;
  std::vector<std::string> names_;
};

TEST(Ceiling, ShareIsTheExplanationsCorrelationOverIt) {
  torch::manual_seed(8);
  const std::int64_t n = 3000, classes = 4;
  const torch::Tensor labels = torch::randint(classes, {n}, torch::kLong);
  const torch::Tensor means = torch::tensor({{0.F, 1.F}, {2.F, 1.F}, {3.F, -1.F}, {7.F, 0.F}});
  const torch::Tensor presence = label_presence(labels, classes).narrow(1, 0, classes).contiguous();
  const Split split = split_of(n);
  EvaluationInput input;
  input.activations = means.index_select(0, labels) + torch::randn({n, 2});
  input.split = split;
  Matrix simulator(presence, {"a", "b", "c", "d"});
  input.simulator = &simulator;
  // The class means themselves, as an explanation: nothing is above it.
  Explanation whole, part, none;
  for (std::int64_t c = 0; c < classes; ++c) {
    const torch::Tensor train = rows_of(input.activations.select(1, 0), split.train);
    whole.terms.push_back({std::string(1, static_cast<char>('a' + c)),
                           train.index({rows_of(labels, split.train) == c})
                               .to(torch::kDouble)
                               .mean()
                               .item<double>()});
  }
  part.terms = {{"d", 1.0}};
  none.unit = 1;
  none.status = Status::no_concept;
  input.explanations = {whole, part, none};
  test::Plugins plugins;
  const auto columns = plugins.make<Evaluator>("ceiling")->evaluate(input);
  const auto scored = plugins.make<Evaluator>("simulation_correlation")->evaluate(input);
  ASSERT_EQ(columns.size(), 2U);
  EXPECT_EQ(columns[0].name, "sim ceiling");
  EXPECT_EQ(columns[1].name, "share of ceiling");
  EXPECT_EQ(columns[0].value[0], columns[0].value[1]);
  EXPECT_NEAR(columns[1].value[0], 1, 1e-6);  // a tie
  EXPECT_NEAR(columns[1].value[1], scored[0].value[1] / columns[0].value[1], 1e-9);
  EXPECT_LT(columns[1].value[1], 1);
  EXPECT_TRUE(std::isfinite(columns[0].value[2]));  // the unit has one, whatever explains it
  EXPECT_EQ(columns[1].status[2], Status::no_concept);
  EXPECT_LT(columns[0].low[0], columns[0].value[0]);
  EXPECT_GT(columns[0].high[0], columns[0].value[0]);
  ASSERT_FALSE(plugins.log.lines.empty());
  EXPECT_NE(plugins.log.lines.front().find("exact, the means of 4 distinct rows"),
            std::string::npos)
      << plugins.log.lines.front();
}

TEST(Ceiling, ShareNoticesSpoiledConcepts) {
  torch::manual_seed(9);
  const std::int64_t n = 4000, units = 12;
  const torch::Tensor presence = (torch::rand({n, units}) < 0.1).to(torch::kFloat32);
  EvaluationInput input;
  input.activations = presence + 0.3 * torch::randn({n, units});
  input.split = split_of(n);
  std::vector<std::string> names;
  for (std::int64_t j = 0; j < units; ++j) {
    names.push_back("c" + std::to_string(j));
    Explanation explanation;
    explanation.unit = j;
    explanation.terms = {{names.back(), 1.0}};
    input.explanations.push_back(explanation);
  }
  Matrix simulator(presence, names);
  input.simulator = &simulator;
  test::Plugins plugins;
  const auto plain = plugins.make<Evaluator>("ceiling")->evaluate(input);
  EXPECT_TRUE(plain[1].sanity.empty());
  const auto spoiled =
      plugins.make<Evaluator>("ceiling", test::given({{"sanity", true}}))->evaluate(input);
  EXPECT_EQ(spoiled[1].value, plain[1].value);
  EXPECT_EQ(spoiled[1].sanity.at("missing labels"), 1);
  EXPECT_EQ(spoiled[1].sanity.at("extra labels"), 1);
  EXPECT_EQ(spoiled[1].sanity.at("reliable"), 1);
  EXPECT_TRUE(spoiled[0].sanity.empty());  // of the unit and the list: no explanation moves it
  EXPECT_NE(plugins.log.lines.back().find("sanity of share of ceiling over 12 units"),
            std::string::npos)
      << plugins.log.lines.back();
}

}  // namespace
}  // namespace linex
