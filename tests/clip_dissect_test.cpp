// CLIP-Dissect's five similarities against the published code's results and a slow, obvious
// version.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "linex/error.hpp"
#include "plugins/solvers/clip_dissect/similarity.hpp"
#include "shared_file.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/math/top_rows.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

constexpr Similarity kAll[] = {Similarity::soft_wpmi, Similarity::wpmi, Similarity::rank_reorder,
                               Similarity::cos_similarity, Similarity::cos_similarity_cubed};

torch::Tensor compute(const torch::Tensor& presence, const torch::Tensor& activations,
                      const SimilarityOptions& options, Rows rows = {}) {
  const MatrixPresence matrix(presence);
  if (rows.empty()) {
    rows.resize(static_cast<std::size_t>(presence.size(0)));
    std::iota(rows.begin(), rows.end(), std::int64_t{0});
  }
  auto result = torch::full({activations.size(1), presence.size(1)}, 1e9F);
  concept_similarity({matrix, activations, rows}, options,
                     [&](std::int64_t first, const torch::Tensor& block) {
                       result.narrow(1, first, block.size(1)).copy_(block);
                     });
  return result;
}

torch::Tensor random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed, double low,
                            double high) {
  auto matrix = torch::empty({rows, cols});
  Random random(seed);
  for (std::int64_t i = 0; i < matrix.numel(); ++i)
    matrix.data_ptr<float>()[i] = static_cast<float>(random.uniform(low, high));
  return matrix;
}

double at(const torch::Tensor& matrix, std::int64_t i, std::int64_t j) {
  return static_cast<double>(matrix.data_ptr<float>()[i * matrix.size(1) + j]);
}

/// §2.1 word for word, in double.
double slow_pmi(const torch::Tensor& p, const torch::Tensor& a, std::int64_t unit, std::int64_t c,
                bool soft) {
  const std::int64_t top = soft ? 100 : 28, units = a.size(1);
  std::vector<double> likelihood;
  for (std::int64_t k = 0; k < units; ++k) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(a.size(0)));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](auto x, auto y) { return at(a, x, k) > at(a, y, k); });
    double sum = 0;
    for (std::int64_t i = 0; i < top; ++i) {
      const auto row = order[static_cast<std::size_t>(i)];
      double total = 0;
      for (std::int64_t j = 0; j < p.size(1); ++j)
        total += std::exp((soft ? 10 : 2) * at(p, row, j));
      const double s = std::exp((soft ? 10 : 2) * at(p, row, c)) / total;
      const double weight = .998 - static_cast<double>(i) / 100 * (.998 - .97);
      sum += soft ? std::log(1 + weight * (s - 1) + 1e-7) : std::log(s + 1e-7);
    }
    likelihood.push_back(sum);
  }
  double mean = 0;
  for (const double l : likelihood) mean += std::exp(l) / static_cast<double>(units);
  return likelihood[static_cast<std::size_t>(unit)] - (soft ? 1.0 : 0.6) * std::log(mean);
}

TEST(ClipDissect, PmiIsTheDefinition) {
  const auto p = random_matrix(230, 37, 1, -0.3, 0.9), a = random_matrix(230, 5, 2, 0, 1);
  for (const bool soft : {true, false}) {
    SimilarityOptions options;
    options.function = soft ? Similarity::soft_wpmi : Similarity::wpmi;
    const auto scores = compute(p, a, options);
    for (const std::int64_t k : {0, 4})
      for (const std::int64_t c : {0, 17, 36}) {
        const double slow = slow_pmi(p, a, k, c, soft);
        EXPECT_NEAR(at(scores, k, c), slow, 1e-5 * std::fabs(slow) + 1e-5) << k << " " << c;
      }
  }
}

TEST(ClipDissect, MemoryAndThreadsChangeNothing) {
  const auto p = random_matrix(400, 90, 3, -0.1, 0.5), a = random_matrix(400, 7, 4, 0, 1);
  for (const Similarity function : kAll) {
    SimilarityOptions options;
    options.function = function;
    const auto one = compute(p, a, options);
    options.threads = 3;
    EXPECT_TRUE(torch::equal(torch::nan_to_num(one), torch::nan_to_num(compute(p, a, options))));
    options.memory_bytes = 4096;  // many concept blocks, tiny tiles
    const auto tiny = compute(p, a, options);
    EXPECT_TRUE(torch::allclose(one, tiny, 1e-5, 1e-5, true)) << static_cast<int>(function);
  }
}

TEST(ClipDissect, ConstantUnitsAreNotDescribedAndDoNotMoveOthers) {
  const auto p = random_matrix(200, 20, 5, 0, 0.5), a = random_matrix(200, 4, 6, 0, 1);
  const auto with_dead = torch::cat({a, torch::zeros({200, 1})}, 1);
  for (const Similarity function : kAll) {
    SimilarityOptions options;
    options.function = function;
    const auto scores = compute(p, with_dead, options);
    EXPECT_TRUE(torch::isnan(scores[4]).all().item<bool>());
    EXPECT_TRUE(torch::allclose(scores.narrow(0, 0, 4), compute(p, a, options), 1e-6, 1e-6, true));
  }
}

TEST(ClipDissect, RankReorderIsTheDefinition) {
  // Ratios between concepts do not depend on the random baseline.
  const std::int64_t n = 300, top = 15;
  const auto p = random_matrix(n, 12, 7, 0.1, 0.9), a = random_matrix(n, 3, 8, 0, 1);
  SimilarityOptions options;
  options.function = Similarity::rank_reorder;
  const auto scores = compute(p, a, options);
  for (std::int64_t k = 0; k < 3; ++k) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::sort(order.begin(), order.end(),
              [&](auto x, auto y) { return at(a, x, k) > at(a, y, k); });
    order.resize(top);
    std::vector<double> slow;
    for (std::int64_t c = 0; c < 12; ++c) {
      double error = 0, mean = 0;
      for (const auto row : order) {
        std::int64_t rank = 0;
        for (const auto other : order) rank += at(p, other, c) < at(p, row, c);
        const auto predicted = order[static_cast<std::size_t>(top - 1 - rank)];
        error += std::pow(std::fabs(at(a, row, k) - at(a, predicted, k)), 3);
        mean += at(p, row, c) / top;
      }
      slow.push_back(error / std::sqrt(mean));
    }
    for (std::size_t c = 1; c < slow.size(); ++c)
      EXPECT_NEAR(at(scores, k, static_cast<std::int64_t>(c)) / at(scores, k, 0), slow[c] / slow[0],
                  1e-4);
    // Random orders predict badly: the baseline is what a random concept would score.
    EXPECT_GT(at(scores, k, 0), -5);
    EXPECT_LT(at(scores, k, 0), -0.05);
  }
}

TEST(ClipDissect, RowsAreThoseAsked) {
  const auto p = random_matrix(300, 15, 9, 0, 0.5), a = random_matrix(300, 3, 10, 0, 1);
  Rows rows;
  for (std::int64_t i = 0; i < 300; i += 2) rows.push_back(i);
  const auto index = torch::tensor(rows);
  for (const Similarity function : kAll) {
    SimilarityOptions options;
    options.function = function;
    EXPECT_TRUE(torch::allclose(
        compute(p, a, options, rows),
        compute(p.index_select(0, index), a.index_select(0, index), options), 1e-6, 1e-6, true));
  }
}

TEST(ClipDissect, TooFewImagesForRanks) {
  SimilarityOptions options;
  options.function = Similarity::rank_reorder;
  EXPECT_THROW(compute(random_matrix(30, 4, 1, 0, 1), random_matrix(30, 2, 2, 0, 1), options),
               Error);
  options.function = Similarity::wpmi;
  options.top_k = 60;
  EXPECT_THROW(compute(random_matrix(90, 4, 1, 0, 1), random_matrix(90, 2, 2, 0, 1), options),
               Error);
}

TEST(ClipDissect, EqualsThePublishedCode) {
  const fs::path golden = shared_file("golden/clip_dissect");
  if (golden.empty()) GTEST_SKIP() << "no golden files";
  const auto p = map_npy(golden / "cosine.npy"), a = map_npy(golden / "activations.npy");
  for (const char* name : {"soft_wpmi", "wpmi", "cos_similarity", "cos_similarity_cubed"}) {
    SimilarityOptions options;
    options.function = similarity_from_string(name);
    const auto mine = compute(p, a, options), want = map_npy(golden / (std::string(name) + ".npy"));
    // Theirs are float32 sums of about -200 less one another: the fourth decimal is rounding.
    EXPECT_TRUE(((mine - want).abs() <= 1e-4 * want.abs().clamp_min(1.0)).all().item<bool>())
        << name << ": " << (mine - want).abs().max().item<double>();
    EXPECT_TRUE(torch::equal(mine.argmax(1), want.argmax(1))) << name;
  }
  // Theirs is the mean over twenty draws of the baseline; so is ours. Each unit then has one factor
  // near 1: the ratio of two means of twenty heavy-tailed draws.
  SimilarityOptions options;
  options.function = Similarity::rank_reorder;
  auto mine = torch::zeros({a.size(1), p.size(1)});
  for (options.seed = 0; options.seed < 20; ++options.seed) mine += compute(p, a, options) / 20;
  const auto factor = mine / map_npy(golden / "rank_reorder.npy");
  const auto spread = (std::get<0>(factor.max(1)) - std::get<0>(factor.min(1))) / factor.mean(1);
  EXPECT_LT(spread.max().item<double>(), 1e-4);
  EXPECT_LT((factor - 1).abs().max().item<double>(), 0.15);
  EXPECT_NEAR(factor.mean().item<double>(), 1.0, 0.03);
}

TEST(TopRows, AreTheLargestWithLowerRowsFirst) {
  auto values = random_matrix(500, 3, 11, 0, 50).floor();  // many ties
  Rows rows(500);
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  TopRows top(3, 40);
  for (std::int64_t begin = 0; begin < 500; begin += 130)
    top.add(values.narrow(0, begin, std::min<std::int64_t>(130, 500 - begin)), rows.data() + begin,
            2);
  for (std::int64_t j = 0; j < 3; ++j) {
    std::vector<std::int64_t> order = rows;
    std::stable_sort(order.begin(), order.end(),
                     [&](auto x, auto y) { return at(values, x, j) > at(values, y, j); });
    const auto items = top.of(j);
    ASSERT_EQ(items.size(), 40U);
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(items[i].row, order[i]);
  }
}

}  // namespace
}  // namespace linex
