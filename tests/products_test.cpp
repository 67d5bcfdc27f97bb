// Products of two concepts as terms, and links: planted ones are found, what is said is what is
// predicted, and the fits are the best there are nearby.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/small_run.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/math/linear_explanations.hpp"
#include "toolkit/math/product_search.hpp"

namespace linex {
namespace {

class Named final : public ConceptLabeler {
 public:
  Named(std::vector<std::string> names, std::shared_ptr<const Presence> presence)
      : names_(std::move(names)), presence_(std::move(presence)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::vector<std::string> names_;
  std::shared_ptr<const Presence> presence_;
};

/// Units of `make(k, presence)` plus noise, and their plain explanations.
struct Made {
  template <class Make>
  Made(std::int64_t n, std::int64_t concepts, std::int64_t units, double noise, std::uint64_t seed,
       const Make& make) {
    torch::manual_seed(seed);
    p = torch::sigmoid(2 * (torch::randn({n, concepts}) - 0.3));
    activations = torch::zeros({n, units});
    for (std::int64_t k = 0; k < units; ++k) {
      const torch::Tensor signal = make(k, p);
      activations.select(1, k).copy_(signal + noise * signal.std() * torch::randn({n}));
    }
    for (std::int64_t j = 0; j < concepts; ++j) names.push_back("c" + std::to_string(j));
    for (std::int64_t i = 0; i < n; ++i)
      (i % 10 < 7 ? split.train : i % 10 == 7 ? split.val : split.test).push_back(i);
    presence = std::make_shared<MatrixPresence>(p);
    for (std::int64_t k = 0; k < units; ++k) all.push_back(k);
    regression = std::make_unique<Regression>(RegressionInput{*presence, activations, all, split},
                                              RegressionOptions());
    const HeldOut validation = regression->validation();
    explain(*regression, validation, names, 0, units, LinearOptions(), 2, &selections);
  }

  std::vector<Explanation> texts(const std::vector<ProductSelection>& found) const {
    std::vector<Explanation> made;
    for (std::size_t k = 0; k < found.size(); ++k)
      made.push_back(
          explanation_of(*regression, names, static_cast<std::int64_t>(k), found[k].chosen));
    return made;
  }
  /// Correlations of what the texts predict.
  std::vector<double> correlations(const std::vector<Explanation>& made, const Rows& rows) const {
    Named labeler(names, presence);
    return pearson_columns(Simulation(made, labeler).predict(rows, 2, 1 << 24),
                           activations.index_select(0, torch::tensor(rows)));
  }

  torch::Tensor p, activations;
  std::vector<std::string> names;
  Split split;
  std::shared_ptr<const Presence> presence;
  std::vector<std::int64_t> all;
  std::unique_ptr<Regression> regression;
  std::vector<Selection> selections;
};

torch::Tensor with_a_product(std::int64_t k, const torch::Tensor& p) {
  const auto c = [&](std::int64_t j) { return p.select(1, (3 * k + j) % p.size(1)); };
  return 2 * c(0) * c(7) + 0.6 * c(13);
}

torch::Tensor a_sum(std::int64_t k, const torch::Tensor& p) {
  const auto c = [&](std::int64_t j) { return p.select(1, (3 * k + j) % p.size(1)); };
  return 1.5 * c(0) - 1.2 * c(7) + c(13);
}

torch::Tensor a_rectified_sum(std::int64_t k, const torch::Tensor& p) {
  return torch::relu(a_sum(k, p) - 0.9);
}

TEST(Products, PlantedOnesAreFoundAndPredictBetterAtEqualCount) {
  Made made(4000, 40, 24, 0.3, 1, with_a_product);
  ProductOptions options;
  options.threads = 2;
  const auto found = search_products(*made.regression, made.all, made.selections, options);
  int planted = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    const std::int64_t a = static_cast<std::int64_t>(3 * k % 40),
                       b = static_cast<std::int64_t>((3 * k + 7) % 40);
    for (const ProductTerm& term : found[k].chosen.terms)
      planted += term.second >= 0 && std::minmax(term.first, term.second) == std::minmax(a, b);
  }
  EXPECT_GE(planted, 23);
  // At three concepts each, on rows that chose nothing.
  ProductOptions without;
  without.products = false;
  const auto plain = search_products(*made.regression, made.all, made.selections, without);
  std::vector<Explanation> with_product, sums;
  for (std::size_t k = 0; k < found.size(); ++k) {
    ASSERT_GE(found[k].lengths.size(), 3U);
    ASSERT_GE(plain[k].lengths.size(), 3U);
    EXPECT_EQ(found[k].lengths[2].concepts(), 3);
    EXPECT_EQ(plain[k].lengths[2].concepts(), 3);
    EXPECT_GE(found[k].lengths[2].train, plain[k].lengths[2].train - 1e-6);
    const auto unit = static_cast<std::int64_t>(k);
    with_product.push_back(explanation_of(*made.regression, made.names, unit, found[k].lengths[2]));
    sums.push_back(explanation_of(*made.regression, made.names, unit, plain[k].lengths[2]));
  }
  const auto better = made.correlations(with_product, made.split.test),
             worse = made.correlations(sums, made.split.test);
  int wins = 0;
  for (std::size_t k = 0; k < better.size(); ++k) wins += better[k] > worse[k];
  EXPECT_GE(wins, 22);
}

TEST(Products, WhatIsSaidIsWhatIsPredicted) {
  Made made(1500, 30, 12, 0.5, 2, with_a_product);
  for (const auto kind : {Link::Kind::identity, Link::Kind::softplus}) {
    ProductOptions options;
    options.link = kind;
    const auto found = search_products(*made.regression, made.all, made.selections, options);
    const auto texts = made.texts(found);
    const auto train = made.correlations(texts, made.split.train),
               val = made.correlations(texts, made.split.val);
    for (std::size_t k = 0; k < found.size(); ++k) {
      ASSERT_FALSE(texts[k].terms.empty());
      EXPECT_NEAR(train[k], found[k].chosen.train, 1e-5);
      EXPECT_NEAR(val[k], found[k].chosen.val, 1e-5);
    }
  }
}

TEST(Products, SumsOfConceptsStaySums) {
  Made made(3000, 40, 40, 1.0, 3, a_sum);
  ProductOptions options;
  const auto found = search_products(*made.regression, made.all, made.selections, options);
  int products = 0, same = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    bool has = false;
    for (const ProductTerm& term : found[k].chosen.terms) has = has || term.second >= 0;
    products += has;
    if (has) continue;
    std::vector<std::int64_t> terms, before = made.selections[k].terms;
    for (const ProductTerm& term : found[k].chosen.terms) terms.push_back(term.first);
    std::sort(terms.begin(), terms.end());
    std::sort(before.begin(), before.end());
    same += terms == before;
  }
  EXPECT_LE(products, 4);
  EXPECT_GE(same, 34);
}

TEST(Products, OfWhatExcludesEachOtherAreNoTerms) {
  Made made(3000, 12, 12, 1.0, 6, [](std::int64_t k, const torch::Tensor& p) {
    p.copy_(torch::one_hot(p.argmax(1), p.size(1)).to(torch::kFloat32));  // labels
    return 1.5 * p.select(1, k % 12) - p.select(1, (k + 3) % 12) + 0.8 * p.select(1, (k + 5) % 12);
  });
  ProductOptions options;
  const auto found = search_products(*made.regression, made.all, made.selections, options);
  for (const ProductSelection& selection : found)
    for (const ProductModel& model : selection.lengths)
      for (const ProductTerm& term : model.terms) EXPECT_LT(term.second, 0);
  const auto train = made.correlations(made.texts(found), made.split.train);
  for (std::size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(train[k], found[k].chosen.train, 1e-5);
}

TEST(Links, RectifiedUnitsGetOneAndItIsTheBestNearby) {
  Made made(2500, 30, 16, 0.2, 4, a_rectified_sum);
  const auto plain = [&] {
    ProductOptions options;
    options.products = false;
    return search_products(*made.regression, made.all, made.selections, options);
  }();
  for (const auto kind : {Link::Kind::relu, Link::Kind::softplus}) {
    ProductOptions options;
    options.products = false;
    options.link = kind;
    const auto bent = search_products(*made.regression, made.all, made.selections, options);
    const auto texts = made.texts(bent);
    const auto with = made.correlations(texts, made.split.test),
               without = made.correlations(made.texts(plain), made.split.test);
    std::mt19937_64 random(6);
    std::normal_distribution<double> normal;
    Named labeler(made.names, made.presence);
    const auto loss = [&](const Explanation& explanation) {
      const auto predicted =
          Simulation({explanation}, labeler).predict(made.split.train, 1, 1 << 24).select(1, 0);
      const auto actual = made.activations.select(1, explanation.unit)
                              .index_select(0, torch::tensor(made.split.train));
      return (predicted - actual).to(torch::kDouble).square().sum().item<double>();
    };
    double gain = 0;
    int links = 0;
    for (std::size_t k = 0; k < bent.size(); ++k) {
      // The terms are those without a link.
      ASSERT_EQ(bent[k].chosen.terms.size(), made.selections[k].terms.size());
      gain += (with[k] - without[k]) / static_cast<double>(bent.size());
      if (bent[k].chosen.link.kind == Link::Kind::identity) continue;
      ++links;
      const double here = loss(texts[k]);
      for (int trial = 0; trial < 10; ++trial) {
        Explanation other = texts[k];
        for (Term& term : other.terms) term.weight *= 1 + 0.02 * normal(random);
        other.bias += 0.01 * normal(random);
        if (kind == Link::Kind::softplus) {
          Link link = link_of(other);
          link.scale *= 1 + 0.05 * normal(random);
          other.text = to_text(link);
        }
        EXPECT_GE(loss(other), here * (1 - 1e-4)) << k;
      }
    }
    EXPECT_GE(links, 14);
    EXPECT_GT(gain, 0.02);
  }
}

TEST(Products, DependOnNeitherThreadsNorOtherUnits) {
  Made made(900, 30, 8, 0.5, 5, with_a_product);
  ProductOptions options;
  options.link = Link::Kind::softplus;
  options.threads = 1;
  const auto expected = search_products(*made.regression, made.all, made.selections, options);
  options.threads = 3;
  options.memory_bytes = 1;  // unit by unit
  const auto again = search_products(*made.regression, made.all, made.selections, options);
  const auto alone = search_products(*made.regression, {5}, {made.selections[5]}, options);
  for (std::size_t k = 0; k < expected.size(); ++k) {
    EXPECT_EQ(expected[k].chosen.weight, again[k].chosen.weight);
    EXPECT_EQ(expected[k].chosen.link.scale, again[k].chosen.link.scale);
  }
  EXPECT_EQ(alone[0].chosen.weight, expected[5].chosen.weight);
  EXPECT_EQ(alone[0].chosen.bias, expected[5].chosen.bias);
  const auto none = search_products(*made.regression, {0}, {Selection()}, options);
  EXPECT_TRUE(none[0].chosen.terms.empty());
}

class ProductsRun : public SmallRun {};

TEST_F(ProductsRun, FilesReadBackAndScoreTheSame) {
  torch::manual_seed(9);
  const auto p = torch::rand({300, kConcepts});
  const auto a = torch::stack({2 * p.select(1, 0) * p.select(1, 1),
                               torch::relu(p.select(1, 2) - 0.5), p.select(1, 3)},
                              1) +
                 0.02 * torch::randn({300, 3});
  write_npy(folder_ / "A.npy", torch::relu(a));
  write_npy(folder_ / "P.npy", p);
  const std::string score = "--evaluator.plugin=simulation_correlation ";
  const Ended ended = run("explain " + with_report_ + score +
                          "--solver.plugin=linear --run.out=o --solver.terms=products "
                          "--solver.link=softplus");
  ASSERT_EQ(ended.code, 0) << ended.error;
  const auto first = read_explanations(folder_ / "o/explanations.csv");
  EXPECT_EQ(first.explanations[0].terms[0].concept_name, "red AND green");
  EXPECT_EQ(first.explanations[1].text.compare(0, 9, "softplus("), 0);
  EXPECT_NE(ended.out.find("softplus("), std::string::npos);
  ASSERT_EQ(
      run("evaluate --explanations o/explanations.csv " + recorded_ + score + "--run.out=e").code,
      0);
  const auto second = read_explanations(folder_ / "e/explanations.csv");
  for (std::size_t k = 0; k < 3; ++k)
    EXPECT_EQ(first.scores[0].value[k], second.scores[0].value[k]);
  const auto json = nlohmann::json::parse(read_file(folder_ / "o/summary.json"));
  EXPECT_GE(json["mean_length"].get<double>(), 4.0 / 3);
  for (const char* other : {"--solver.stability=5", "--solver.noise_floor=2",
                            "--solver.non_negative=true", "--solver.search=exact"})
    expect_error("explain " + recorded_ +
                     "--solver.plugin=linear --run.out=m --solver.terms=products " + other,
                 2, "of terms=concepts with link=identity");
}

}  // namespace
}  // namespace linex
