// Moments, elastic net and searches against obvious slow versions.
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <random>
#include <set>

#include "linex/error.hpp"
#include "toolkit/math/best_subset.hpp"
#include "toolkit/math/kernels.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/linear_explanations.hpp"
#include "toolkit/math/row_cuts.hpp"

namespace linex {
namespace {

/// Presence in memory.
class Matrix final : public Presence {
 public:
  explicit Matrix(torch::Tensor values, bool sparse = false)
      : values_(values.contiguous()), sparse_(sparse) {}
  std::int64_t rows() const override { return values_.size(0); }
  std::int64_t cols() const override { return values_.size(1); }
  bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const override {
    if (!sparse_) return false;
    ones.clear();
    for (std::int64_t j = 0; j < cols(); ++j)
      if (values_.data_ptr<float>()[row * cols() + j] == 1) ones.push_back(j);
    return true;
  }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    const float* values = values_.data_ptr<float>();
    for (const std::int64_t row : rows)
      for (std::int64_t j = 0; j < cols.count(this->cols()); ++j)
        *out++ = values[row * values_.size(1) + cols[j]];
  }

  torch::Tensor values_;
  bool sparse_;
};

torch::Tensor gaussian(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  torch::Tensor values = torch::empty({rows, cols});
  float* out = values.data_ptr<float>();
  for (std::int64_t i = 0; i < rows * cols; ++i) out[i] = normal(random);
  return values;
}

/// Presence in [0, 1] with correlated columns, units made of a few of them, a split in thirds or
/// so.
struct World {
  torch::Tensor presence, activations;
  Split split;
  std::vector<std::string> names;

  World(std::int64_t n, std::int64_t concepts, std::int64_t units, std::uint64_t seed) {
    const torch::Tensor mixed =
        gaussian(n, concepts, seed) + gaussian(n, 3, seed + 1).mm(gaussian(3, concepts, seed + 2));
    presence = torch::sigmoid(3 * mixed - 2);
    activations = 0.3 * gaussian(n, units, seed + 3);
    std::mt19937_64 random(seed + 4);
    for (std::int64_t k = 0; k < units; ++k)
      for (int term = 0; term < 3; ++term)
        activations.select(1, k) +=
            presence.select(1, static_cast<std::int64_t>(random() % concepts)) * (1 + term);
    for (std::int64_t i = 0; i < n; ++i)
      (i % 10 < 7 ? split.train : i % 10 == 7 ? split.val : split.test).push_back(i);
    for (std::int64_t j = 0; j < concepts; ++j) names.push_back("c" + std::to_string(j));
  }

  torch::Tensor rows(const torch::Tensor& matrix, const Rows& of) const {
    return matrix.index_select(0, torch::tensor(of)).to(torch::kDouble);
  }
};

struct Fitted {
  Matrix presence;
  std::vector<std::int64_t> units;
  std::unique_ptr<Regression> regression;
  std::unique_ptr<HeldOut> validation;

  explicit Fitted(const World& world, RegressionOptions options = {}, bool sparse = false)
      : presence(world.presence, sparse), units(all_columns(world.activations.size(1))) {
    regression = std::make_unique<Regression>(
        RegressionInput{presence, world.activations, units, world.split}, options);
    validation = std::make_unique<HeldOut>(regression->validation());
  }
  std::vector<Explanation> explain(const World& world, const LinearOptions& options = {},
                                   int threads = 1) {
    return linex::explain(*regression, *validation, world.names, 0, regression->unit_count(),
                          options, threads);
  }
};

double slow_correlation(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a - a.mean(), y = b - b.mean();
  return ((x * y).sum() / torch::sqrt((x * x).sum() * (y * y).sum())).item<double>();
}

std::string bytes_of(const std::vector<Explanation>& explanations) {
  std::string text;
  const auto add = [&](double value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  for (const Explanation& e : explanations) {
    text += std::to_string(e.unit) + to_string(e.status);
    for (const Term& term : e.terms) text += term.concept_name, add(term.weight);
    for (double value : {e.bias, e.val_correlation, e.objective, e.duality_gap}) add(value);
  }
  return text;
}

// ---- moments ------------------------------------------------------------------------------------

struct MomentError {
  double gram, cross;
};

/// Largest errors against a float64 two-pass reference, relative to the columns' sizes.
MomentError moment_errors(const torch::Tensor& p, const torch::Tensor& a, const Moments& got,
                          const Rows& rows) {
  const torch::Tensor index = torch::tensor(rows);
  const torch::Tensor pd = p.index_select(0, index).to(torch::kDouble);
  const torch::Tensor ad = a.index_select(0, index).to(torch::kDouble);
  const torch::Tensor pc = pd - pd.mean(0), ac = ad - ad.mean(0);
  const double n = static_cast<double>(rows.size());
  const torch::Tensor gram = pc.t().mm(pc) / n, cross = ac.t().mm(pc) / n;
  const torch::Tensor ps = gram.diag().sqrt(), as = (ac * ac).mean(0).sqrt();
  return {((got.gram.to(torch::kDouble) - gram).abs() / (ps.unsqueeze(1) * ps.unsqueeze(0)))
              .max()
              .item<double>(),
          ((got.cross - cross).abs() / (as.unsqueeze(1) * ps.unsqueeze(0))).max().item<double>()};
}

Moments take(const torch::Tensor& p, const torch::Tensor& a, const Rows& rows,
             MomentOptions options) {
  const Matrix presence(p);
  const RowSource ps = presence_rows(presence, all_columns(p.size(1)));
  const RowSource as = activation_rows(a, all_columns(a.size(1)));
  const ColumnStats look = column_stats(ps, rows, options.threads);
  const ColumnStats units = column_stats(as, rows, options.threads);
  return moments({ps, around_mean(look), as, around_mean(units)}, rows, options);
}

Rows some_rows(std::int64_t n) {
  Rows rows;
  for (std::int64_t i = 0; i < n; ++i)
    if (i % 7 != 3) rows.push_back(i);
  return rows;
}

TEST(Moments, AgreeWithFloat64WhateverTheMeans) {
  const Rows rows = some_rows(3000);
  for (const float mean : {0.0F, 1.0F, -30.0F, 1000.0F}) {
    torch::Tensor p = gaussian(3000, 150, 1) + mean, a = gaussian(3000, 70, 2) - mean;
    p.select(1, 3).copy_(p.select(1, 4) * 1e-3);  // another scale, fully correlated
    MomentOptions options;
    options.tile_rows = 777;
    options.block = 64;
    const MomentError error = moment_errors(p, a, take(p, a, rows, options), rows);
    EXPECT_LT(error.gram, 1e-5) << mean;
    EXPECT_LT(error.cross, 1e-5) << mean;
  }
}

TEST(Moments, AgreeWithFloat64OnRowsSortedByValue) {
  // Class by class, as image folders are: the first tile is nothing like the rest.
  torch::Tensor p = std::get<0>(gaussian(4000, 40, 3).sort(0)) + 500;
  torch::Tensor a = std::get<0>(gaussian(4000, 20, 4).sort(0));
  const Rows rows = some_rows(4000);
  MomentOptions options;
  options.tile_rows = 500;
  const MomentError error = moment_errors(p, a, take(p, a, rows, options), rows);
  EXPECT_LT(error.gram, 1e-5);
  EXPECT_LT(error.cross, 1e-5);
}

TEST(Moments, SharesOfRanksAreAllRowsCutAtTheSamePlaces) {
  for (const std::int64_t rows : {1, 255, 257, 3000, 8192, 35000, 70000, 70001, 1000000})
    for (const std::int64_t cols : {5, 10486, 100000}) {
      const RowCuts cuts(rows, cols);
      std::set<std::int64_t> alone;  // where products of one process begin
      for (int ranks = 1; ranks <= 7; ++ranks) {
        std::set<std::int64_t> begins;
        std::vector<RowRange> all;
        std::int64_t most = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          std::int64_t size = 0;
          for (const RowRange& range : cuts.share(rank, ranks)) {
            EXPECT_EQ(range.begin % RowCuts::kGrain, 0);
            EXPECT_EQ(cuts.tile(1) % range.depth, 0);
            for (std::int64_t row = range.begin; row < range.end; row += range.depth)
              begins.insert(row);
            all.push_back(range);
            size += range.size();
          }
          most = std::max(most, size);
        }
        std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
        std::int64_t end = 0;
        for (const RowRange& range : all) {
          EXPECT_EQ(range.begin, end);
          end = range.end;
        }
        EXPECT_EQ(end, rows);
        if (ranks == 1) alone = begins;
        EXPECT_EQ(begins, alone) << rows << " rows, " << ranks << " ranks";
        if (ranks <= 3 && rows >= 35000) {
          EXPECT_LT(static_cast<double>(most) * ranks, 1.05 * static_cast<double>(rows))
              << rows << " rows, " << ranks << " ranks";
        }
      }
    }
}

TEST(Moments, SameBytesForAnyThreadCount) {
  const torch::Tensor p = gaussian(2000, 300, 5), a = gaussian(2000, 90, 6);
  MomentOptions options;
  options.tile_rows = 512;
  options.block = 128;
  const Moments one = take(p, a, some_rows(2000), options);
  for (const int threads : {2, 3}) {
    options.threads = threads;
    const Moments many = take(p, a, some_rows(2000), options);
    EXPECT_TRUE(torch::equal(one.gram, many.gram));
    EXPECT_TRUE(torch::equal(one.cross, many.cross));
    EXPECT_EQ(one.concept_mean, many.concept_mean);
    EXPECT_EQ(one.unit_variance, many.unit_variance);
  }
}

TEST(Moments, GramRowsAreRowsOfTheGram) {
  const torch::Tensor p = gaussian(1500, 200, 7), a = gaussian(1500, 10, 8);
  const Rows rows = some_rows(1500);
  const Moments whole = take(p, a, rows, {});
  const Matrix presence(p);
  const RowSource source = presence_rows(presence, all_columns(200));
  const std::vector<std::int64_t> wanted{5, 17, 199, 3};
  const torch::Tensor part =
      gram_rows(source, around_mean(column_stats(source, rows, 1)), wanted, rows, MomentOptions());
  EXPECT_TRUE(torch::allclose(part, whole.gram.index_select(0, torch::tensor(wanted)), 1e-5, 1e-6));
}

TEST(Moments, SparseSourcesAgreeWithDenseOnes) {
  const torch::Tensor p = (gaussian(1200, 60, 9) > 1.2).to(torch::kFloat);
  const torch::Tensor a = gaussian(1200, 30, 10) + 100;
  const Rows rows = some_rows(1200);
  const Matrix sparse(p, true);
  const OnesOf ones = [&](std::int64_t row, std::vector<std::int64_t>& out) {
    sparse.ones(row, out);
  };
  const RowSource as = activation_rows(a, all_columns(30));
  MomentOptions options;
  const ColumnReach reach = around_zero(column_stats(as, rows, 1));
  const Moments one = sparse_moments(60, ones, as, reach, rows, options);
  const MomentError error = moment_errors(p, a, one, rows);
  EXPECT_LT(error.gram, 1e-6);
  EXPECT_LT(error.cross, 1e-9);
  options.threads = 2;
  EXPECT_TRUE(torch::equal(one.cross, sparse_moments(60, ones, as, reach, rows, options).cross));
}

/// Like latents of a sparse autoencoder: `share` of the values are not zero. Unit 3 is always on.
torch::Tensor latents(std::int64_t rows, std::int64_t units, double share, std::uint64_t seed) {
  torch::manual_seed(static_cast<std::int64_t>(seed));
  auto a = torch::rand({rows, units}) + 0.5;
  a.mul_(torch::rand({rows, units}) < share);
  a.select(1, 3) = gaussian(rows, 1, seed).select(1, 0) + 100;
  a.select(1, 5).zero_();
  return a;
}

TEST(Moments, SparseActivationsAgreeWithFloat64) {
  const torch::Tensor p = gaussian(1500, 40, 31) - 3, a = latents(1500, 300, 0.02, 32);
  const Rows rows = some_rows(1500);
  const Matrix presence(p);
  const RowSource ps = presence_rows(presence, all_columns(40));
  const RowSource as = activation_rows(a, all_columns(300));
  const ColumnReach reach = around_mean(column_stats(ps, rows, 1)),
                    size_of_units = around_zero(column_stats(as, rows, 1));
  MomentOptions options;
  options.tile_rows = 512;
  options.block = 64;
  ASSERT_TRUE(mostly_zeros(a.data_ptr<float>(), a.numel(), 1));
  const Moments one = moments({ps, reach, as, size_of_units}, rows, options);
  const auto index = torch::tensor(rows);
  const auto pc = p.index_select(0, index).to(torch::kDouble),
             ac = a.index_select(0, index).to(torch::kDouble);
  const auto n = static_cast<double>(rows.size());
  const auto cross = (ac - ac.mean(0)).t().mm(pc - pc.mean(0)) / n;
  const auto size = (ac - ac.mean(0)).square().mean(0).sqrt().clamp_min(1e-9).unsqueeze(1);
  EXPECT_LT(((one.cross - cross) / size).abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(one.unit_mean[7], ac.mean(0)[7].item<double>(), 1e-9);
  options.threads = 2;
  const Moments two = moments({ps, reach, as, size_of_units}, rows, options);
  EXPECT_TRUE(torch::equal(one.cross, two.cross));
  // The same through products of whole tiles.
  EXPECT_LT(((take(p, a, rows, options).cross - cross) / size).abs().max().item<double>(), 1e-5);
}

TEST(Moments, RowsThatAreSparseHereAndDenseThereDoNotDependOnTiles) {
  const torch::Tensor p = gaussian(6000, 40, 36);
  torch::Tensor a = latents(6000, 300, 0.02, 37);
  a.narrow(0, 1900, 700) += 1;
  const Rows rows = some_rows(6000);
  const Matrix presence(p);
  const RowSource ps = presence_rows(presence, all_columns(40));
  const RowSource as = activation_rows(a, all_columns(300));
  const ColumnReach reach = around_mean(column_stats(ps, rows, 1)),
                    size_of_units = around_zero(column_stats(as, rows, 1));
  MomentOptions options;
  options.tile_rows = 256;
  const Moments one = moments({ps, reach, as, size_of_units}, rows, options);
  for (const std::int64_t tile : {512, 1280, 1 << 20}) {
    options.tile_rows = tile;
    const Moments other = moments({ps, reach, as, size_of_units}, rows, options);
    EXPECT_TRUE(torch::equal(one.cross, other.cross)) << tile;
    EXPECT_TRUE(torch::equal(one.gram, other.gram)) << tile;
  }
}

TEST(SparseColumns, AreWhatIsNotZero) {
  const torch::Tensor a = latents(700, 600, 0.03, 33);
  const auto sparse = sparse_columns(a.data_ptr<float>(), 700, 600, 2);
  ASSERT_EQ(sparse.begin.size(), 601U);
  auto again = torch::zeros({700, 600});
  for (std::size_t j = 0; j < 600; ++j)
    for (auto at = sparse.begin[j]; at < sparse.begin[j + 1]; ++at)
      again[sparse.row[static_cast<std::size_t>(at)]][static_cast<std::int64_t>(j)] =
          sparse.value[static_cast<std::size_t>(at)];
  EXPECT_TRUE(torch::equal(again, a));
  EXPECT_TRUE(mostly_zeros(a.data_ptr<float>(), a.numel(), 2));
  EXPECT_FALSE(mostly_zeros(a.data_ptr<float>(), 0, 2));
  const torch::Tensor full = gaussian(700, 600, 34);
  EXPECT_FALSE(mostly_zeros(full.data_ptr<float>(), full.numel(), 2));
  const torch::Tensor tenth = latents(700, 600, 0.1, 35);
  EXPECT_FALSE(mostly_zeros(tenth.data_ptr<float>(), tenth.numel(), 2));
}

TEST(Moments, OnAGpuAgreeWithFloat64) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const Rows rows = some_rows(3000);
  const torch::Tensor p = gaussian(3000, 700, 14) + 1000, a = gaussian(3000, 90, 15) - 30;
  MomentOptions options;
  options.device = "cuda:0";
  options.tile_rows = 777;
  const Moments got = take(p, a, rows, options);
  const MomentError error = moment_errors(p, a, got, rows);
  EXPECT_LT(error.gram, 1e-5);
  EXPECT_LT(error.cross, 1e-5);
  const Matrix presence(p);
  const RowSource source = presence_rows(presence, all_columns(700));
  const torch::Tensor part =
      gram_rows(source, around_mean(column_stats(source, rows, 1)), {5, 699}, rows, options);
  EXPECT_TRUE(torch::allclose(part, got.gram.index_select(0, torch::tensor({5, 699})), 1e-5, 1e-6));
}

TEST(ColumnStats, AgreeWithTheDefinitions) {
  torch::Tensor p = gaussian(700, 300, 11) * 3 + 10;
  p.select(1, 7).fill_(0.1F);
  const Rows rows = some_rows(700);
  const Matrix presence(p);
  const ColumnStats stats = column_stats(presence_rows(presence, all_columns(300)), rows, 2);
  const torch::Tensor d = p.index_select(0, torch::tensor(rows)).to(torch::kDouble);
  for (std::int64_t j = 0; j < 300; ++j) {
    const torch::Tensor column = d.select(1, j);
    EXPECT_NEAR(stats.mean[j], column.mean().item<double>(), 1e-10);
    EXPECT_NEAR(stats.std[j], j == 7 ? 0.0 : column.std().item<double>(), 1e-10);
    EXPECT_NEAR(stats.top_mean[j], std::get<0>(column.topk(5)).mean().item<double>(), 1e-5);
    EXPECT_EQ(stats.low[j], static_cast<float>(column.min().item<double>()));
    EXPECT_EQ(stats.high[j], static_cast<float>(column.max().item<double>()));
  }
  EXPECT_EQ(stats.std[7], 0.0);
}

TEST(HeldOut, CorrelatesAsTheDefinitionSaysCachedOrNot) {
  const World world(2000, 30, 4, 12);
  const Matrix presence(world.presence);
  const RowSource ps = presence_rows(presence, all_columns(30));
  const RowSource as = activation_rows(world.activations, all_columns(4));
  const std::vector<double> zeros(30, 0.0);
  const std::vector<LinearModel> models{{2, {3, 9}, {1.5, -2}}, {0, {1}, {1}}, {0, {}, {}}};
  const HeldOut kept(ps, zeros, as, zeros, world.split.train, 1 << 30, 2);
  const HeldOut streamed(ps, zeros, as, zeros, world.split.train, 0, 1);
  const std::vector<double> got = kept.correlation(models);
  const torch::Tensor p = world.rows(world.presence, world.split.train);
  const torch::Tensor a = world.rows(world.activations, world.split.train);
  EXPECT_NEAR(got[0], slow_correlation(p.select(1, 3) * 1.5 - p.select(1, 9) * 2, a.select(1, 2)),
              1e-9);
  EXPECT_NEAR(got[1], slow_correlation(p.select(1, 1), a.select(1, 0)), 1e-9);
  EXPECT_TRUE(std::isnan(got[2]));
  const std::vector<double> again = streamed.correlation(models);
  EXPECT_EQ(got[0], again[0]);
  EXPECT_EQ(got[1], again[1]);
}

TEST(HeldOut, KeepsSparseActivationsWhereDenseOnesDoNotFit) {
  const torch::Tensor p = gaussian(1200, 20, 41), a = latents(1200, 400, 0.02, 42);
  const Matrix presence(p);
  const RowSource ps = presence_rows(presence, all_columns(20));
  std::int64_t reads = 0;
  RowSource as = activation_rows(a, all_columns(400));
  as.read = [inner = as.read, &reads](const std::int64_t* rows, std::int64_t n, float* out) {
    reads += n;
    inner(rows, n, out);
  };
  const std::vector<double> zeros(20, 0.0);
  std::vector<double> means;
  for (std::int64_t k = 0; k < 400; ++k) means.push_back(a.select(1, k).mean().item<double>());
  Rows rows;
  for (std::int64_t i = 0; i < 1200; ++i) rows.push_back(i);
  const std::vector<LinearModel> models{
      {3, {1, 2}, {1, -1}}, {17, {4}, {2}}, {399, {0, 19}, {1, 1}}, {5, {2}, {1}}};
  const HeldOut dense(ps, zeros, as, means, rows, 1 << 30, 1);
  const HeldOut sparse(ps, zeros, as, means, rows, 400'000, 1);
  EXPECT_EQ(reads, 2400);
  const auto expected = dense.correlation(models), got = sparse.correlation(models);
  EXPECT_EQ(reads, 2400) << "read again";
  for (std::size_t m = 0; m < 3; ++m) EXPECT_EQ(got[m], expected[m]) << m;
  EXPECT_TRUE(std::isnan(got[3]));
  // Neither fits: read for every call, the same figures.
  const HeldOut streamed(ps, zeros, as, means, rows, 50'000, 1);
  EXPECT_EQ(streamed.correlation(models)[1], expected[1]);
}

// ---- elastic net --------------------------------------------------------------------------------

/// Standardised training data in float64.
struct Standard {
  torch::Tensor x, y;
  Standard(const World& world)
      : x(world.rows(world.presence, world.split.train)),
        y(world.rows(world.activations, world.split.train)) {
    x = (x - x.mean(0)) / x.std(0);
    y = (y - y.mean(0)) / y.std(0);
  }
  /// Plain coordinate descent over every concept until nothing moves.
  torch::Tensor slow_elastic_net(std::int64_t unit, double l1, double l2) const {
    const std::int64_t n = x.size(0), concepts = x.size(1);
    torch::Tensor w = torch::zeros({concepts}, torch::kDouble);
    torch::Tensor residual = y.select(1, unit).clone();
    for (int sweep = 0; sweep < 500; ++sweep) {
      double moved = 0;
      for (std::int64_t j = 0; j < concepts; ++j) {
        const torch::Tensor column = x.select(1, j);
        const double square = column.dot(column).item<double>() / n, old = w[j].item<double>();
        const double z = column.dot(residual).item<double>() / n + square * old;
        const double next = (z > l1 ? z - l1 : z < -l1 ? z + l1 : 0.0) / (square + l2);
        if (next == old) continue;
        residual -= (next - old) * column;
        w[j] = next;
        moved = std::max(moved, std::abs(next - old));
      }
      if (moved < 1e-12) break;
    }
    return w;
  }
  double objective(std::int64_t unit, const torch::Tensor& w, double l1, double l2) const {
    const torch::Tensor r = y.select(1, unit) - x.mv(w);
    return (0.5 * (r * r).mean() + l1 * w.abs().sum() + 0.5 * l2 * w.dot(w)).item<double>();
  }
};

torch::Tensor dense(const SparseFit& fit, std::int64_t concepts) {
  torch::Tensor w = torch::zeros({concepts}, torch::kDouble);
  for (std::size_t i = 0; i < fit.index.size(); ++i) w[fit.index[i]] = fit.weight[i];
  return w;
}

TEST(ElasticNet, ReachesTheOptimumOfPlainCoordinateDescent) {
  const World world(600, 50, 6, 20);
  Fitted fitted(world);
  const Standard data(world);
  ASSERT_EQ(fitted.regression->concept_count(), 50);
  for (const double lambda : {0.05, 0.2, 0.005}) {
    LinearOptions options;
    options.lambda = lambda;
    options.gap = 1e-9;
    const ElasticNetOptions net = ElasticNetOptions::published(lambda, options.alpha);
    EXPECT_NEAR(net.l1, lambda, 1e-12);
    const auto fits = rank(*fitted.regression, *fitted.validation, 0, 6, options, 1);
    for (std::int64_t k = 0; k < 6; ++k) {
      const torch::Tensor slow = data.slow_elastic_net(k, net.l1, net.l2);
      const torch::Tensor fast = dense(fits[k], 50);
      const double optimum = data.objective(k, slow, net.l1, net.l2);
      EXPECT_TRUE(fits[k].converged);
      EXPECT_NEAR(fits[k].objective, optimum, 2e-6);
      EXPECT_LE(data.objective(k, fast, net.l1, net.l2), optimum + 1e-6);
      EXPECT_LT((slow - fast).abs().max().item<double>(), 2e-3) << lambda << " " << k;
    }
  }
}

TEST(ElasticNet, GapBoundsTheDistanceToTheOptimum) {
  const World world(400, 40, 4, 21);
  Fitted fitted(world);
  LinearOptions loose, tight;
  loose.gap = 0.05;
  tight.gap = 1e-10;
  const auto far = rank(*fitted.regression, *fitted.validation, 0, 4, loose, 1);
  const auto near = rank(*fitted.regression, *fitted.validation, 0, 4, tight, 1);
  for (std::size_t k = 0; k < 4; ++k) {
    EXPECT_GE(far[k].objective, near[k].objective - near[k].gap);
    EXPECT_GE(near[k].objective, far[k].objective - far[k].gap - 1e-9);
    EXPECT_LE(near[k].gap, 1e-10);
  }
}

TEST(ElasticNet, NonNegativeWeightsSatisfyTheirConditions) {
  const World world(500, 40, 5, 22);
  Fitted fitted(world);
  LinearOptions options;
  options.search.non_negative = true;
  options.lambda = 0.01;
  const auto fits = rank(*fitted.regression, *fitted.validation, 0, 5, options, 1);
  const ElasticNetOptions net = ElasticNetOptions::published(0.01, 0.99);
  const Standard data(world);
  for (std::int64_t k = 0; k < 5; ++k) {
    EXPECT_TRUE(fits[k].converged);
    const torch::Tensor w = dense(fits[k], 40);
    EXPECT_GE(w.min().item<double>(), 0);
    const torch::Tensor r = data.y.select(1, k) - data.x.mv(w);
    const torch::Tensor slope =
        data.x.t().mv(r) / static_cast<double>(data.x.size(0)) - net.l1 - net.l2 * w;
    EXPECT_LT(slope.max().item<double>(), 2e-3);
    EXPECT_LT((slope * w).abs().max().item<double>(), 1e-3);
  }
}

TEST(ElasticNet, GivesUpHonestly) {
  const World world(400, 60, 2, 23);
  Fitted fitted(world);
  ElasticNetOptions net = ElasticNetOptions::published(0.001, 0.99);
  net.max_sweeps = 1;
  net.gap = 1e-12;
  const auto fits =
      fit_elastic_net(*fitted.regression->gram, {fitted.regression->moments_of(0)}, net, 1);
  EXPECT_FALSE(fits[0].converged);
  EXPECT_GT(fits[0].gap, 0);
}

TEST(Ranking, PutsZerosBetweenPositiveAndNegativeInTheirOrder) {
  SparseFit fit;
  fit.index = {1, 3, 4};
  fit.weight = {0.5, -0.25, 0.75};
  EXPECT_EQ(ranking(fit, 6, 6), (std::vector<std::int64_t>{4, 1, 0, 2, 5, 3}));
  EXPECT_EQ(ranking(fit, 6, 3), (std::vector<std::int64_t>{4, 1, 0}));
}

// ---- least squares and searches -----------------------------------------------------------------

TEST(LeastSquares, IsTheRegressionOnThoseColumns) {
  const World world(500, 30, 3, 30);
  Fitted fitted(world);
  const Standard data(world);
  const std::vector<std::int64_t> terms{4, 11, 2, 27};
  const TermFit fit =
      least_squares(*fitted.regression->gram, fitted.regression->moments_of(1).q, terms);
  const torch::Tensor x = data.x.index_select(1, torch::tensor(terms));
  const torch::Tensor normal = x.t().mm(x), right = x.t().mv(data.y.select(1, 1));
  for (std::size_t i = 0; i < terms.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < terms.size(); ++j)
      sum += normal[i][j].item<double>() * fit.weight[j];
    EXPECT_NEAR(sum, right[i].item<double>(), 1e-2);
  }
  EXPECT_TRUE(
      least_squares(*fitted.regression->gram, fitted.regression->moments_of(1).q, {4, 11, 4})
          .weight.empty());
}

TEST(LeastSquares, NonNegativeSatisfiesItsConditions) {
  const World world(300, 12, 8, 31);
  Fitted fitted(world);
  const std::vector<std::int64_t> terms = all_columns(12);
  for (std::int64_t k = 0; k < 8; ++k) {
    const double* q = fitted.regression->moments_of(k).q;
    const TermFit fit = non_negative_least_squares(*fitted.regression->gram, q, terms);
    for (std::size_t i = 0; i < 12; ++i) {
      double slope = q[i];
      for (std::size_t j = 0; j < 12; ++j)
        slope -= static_cast<double>(fitted.regression->gram->row(i)[j]) * fit.weight[j];
      EXPECT_GE(fit.weight[i], 0);
      EXPECT_LE(slope, 1e-9);
      EXPECT_NEAR(slope * fit.weight[i], 0, 1e-9);
    }
  }
}

TEST(Kernels, BestMovesAreTheBestOfTryingEveryConcept) {
  const World world(800, 600, 2, 32);
  Fitted fitted(world);
  const Gram& gram = *fitted.regression->gram;
  const std::int64_t concepts = fitted.regression->concept_count();
  const double* q = fitted.regression->moments_of(0).q;
  const std::vector<float> qf(q, q + concepts);
  const std::vector<std::int64_t> terms{10, 200, 333};
  const TermFit fit = least_squares(gram, q, terms);
  const std::vector<float> inverse(fit.inverse.begin(), fit.inverse.end());
  const std::vector<float> beta(fit.weight.begin(), fit.weight.end());
  std::vector<const float*> rows;
  for (const std::int64_t j : terms) rows.push_back(gram.row(j));
  ScanInput input;
  input.terms = 3;
  input.rows = rows.data();
  input.inverse = inverse.data();
  input.beta = beta.data();
  input.q = qf.data();
  input.diagonal = static_cast<float>(fitted.regression->diagonal());
  input.concepts = concepts;

  double add = 0, swap = 0;
  for (std::int64_t j = 0; j < concepts; ++j) {
    std::vector<std::int64_t> more = terms;
    more.push_back(j);
    add = std::max(add, least_squares(gram, q, more).explained - fit.explained);
    for (std::size_t p = 0; p < 3; ++p) {
      std::vector<std::int64_t> other = terms;
      other[p] = j;
      swap = std::max(swap, least_squares(gram, q, other).explained - fit.explained);
    }
  }
  EXPECT_NEAR(best_addition(input).gain, add, 1e-4 * add + 1e-6);
  EXPECT_NEAR(best_swap(input).gain, swap, 1e-3 * swap + 1e-6);
}

/// docs/methods.md §1.6, word by word, with float64 least squares on the rows.
std::vector<std::string> slow_greedy(const World& world, std::int64_t unit,
                                     const std::vector<std::int64_t>& ranked, double* correlation) {
  const torch::Tensor x = world.rows(world.presence, world.split.train);
  const torch::Tensor y = world.rows(world.activations, world.split.train).select(1, unit);
  const torch::Tensor xv = world.rows(world.presence, world.split.val);
  const torch::Tensor yv = world.rows(world.activations, world.split.val).select(1, unit);
  std::vector<std::int64_t> chosen, bad;
  double best = 0;
  while (chosen.size() < 10) {
    std::vector<std::int64_t> candidates;
    for (const std::int64_t j : ranked)
      if (candidates.size() < 10 && std::find(chosen.begin(), chosen.end(), j) == chosen.end() &&
          std::find(bad.begin(), bad.end(), j) == bad.end())
        candidates.push_back(j);
    double current = best;
    std::int64_t pick = -1;
    for (const std::int64_t j : candidates) {
      std::vector<std::int64_t> terms = chosen;
      terms.push_back(j);
      const torch::Tensor index = torch::tensor(terms);
      const torch::Tensor xs = x.index_select(1, index) - x.index_select(1, index).mean(0);
      const torch::Tensor w = torch::linalg_pinv(xs).mv(y - y.mean());
      const double c = slow_correlation(xv.index_select(1, index).mv(w), yv);
      if (c - best < 0.02 && !chosen.empty()) {
        bad.push_back(j);
      } else if (c > current) {
        current = c;
        pick = j;
      }
    }
    if (pick < 0) break;
    best = current;
    chosen.push_back(pick);
  }
  *correlation = best;
  std::vector<std::string> names;
  for (const std::int64_t j : chosen) names.push_back(world.names[j]);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> sorted_names(const Explanation& explanation) {
  std::vector<std::string> names;
  for (const Term& term : explanation.terms) names.push_back(term.concept_name);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Search, GreedyIsThePublishedSearch) {
  const World world(900, 60, 12, 40);
  Fitted fitted(world);
  LinearOptions options;
  options.search.kind = SearchKind::greedy;
  const auto fits = rank(*fitted.regression, *fitted.validation, 0, 12, options, 1);
  const auto explanations = fitted.explain(world, options);
  for (std::int64_t k = 0; k < 12; ++k) {
    double correlation = 0;
    EXPECT_EQ(sorted_names(explanations[k]),
              slow_greedy(world, k, ranking(fits[k], 60, 60), &correlation));
    EXPECT_NEAR(explanations[k].val_correlation, correlation, 1e-5);
  }
}

TEST(Search, WeightsAreTheLeastSquaresRefitInDescendingOrder) {
  const World world(900, 60, 6, 41);
  const torch::Tensor x = world.rows(world.presence, world.split.train);
  const torch::Tensor y = world.rows(world.activations, world.split.train);
  for (const SearchKind kind :
       {SearchKind::none, SearchKind::greedy, SearchKind::forward, SearchKind::swap}) {
    Fitted fitted(world);
    LinearOptions options;
    options.search.kind = kind;
    options.search.max_length = 4;
    for (const Explanation& e : fitted.explain(world, options)) {
      ASSERT_EQ(e.status, Status::ok);
      ASSERT_LE(e.terms.size(), 4U);
      torch::Tensor residual = y.select(1, e.unit) - e.bias;
      for (std::size_t i = 0; i < e.terms.size(); ++i) {
        if (i) {
          EXPECT_LE(e.terms[i].weight, e.terms[i - 1].weight);
        }
        residual = residual -
                   e.terms[i].weight * x.select(1, std::stoll(e.terms[i].concept_name.substr(1)));
      }
      EXPECT_NEAR(residual.mean().item<double>(), 0, 1e-6);
      for (const Term& term : e.terms)
        EXPECT_NEAR(
            slow_correlation(x.select(1, std::stoll(term.concept_name.substr(1))), residual), 0,
            1e-4);
    }
  }
}

TEST(Search, SwapExplainsNoLessThanForwardAtEqualLength) {
  const World world(700, 120, 16, 42);
  LinearOptions options;
  options.search.tolerance = 0;
  options.search.max_length = 3;
  double forward = 0, swap = 0;
  for (const SearchKind kind : {SearchKind::forward, SearchKind::swap}) {
    Fitted fitted(world);
    options.search.kind = kind;
    for (const Explanation& e : fitted.explain(world, options)) {
      torch::Tensor predicted = torch::zeros({700}, torch::kDouble);
      for (const Term& term : e.terms)
        predicted +=
            term.weight * world.presence.select(1, std::stoll(term.concept_name.substr(1)));
      const double c = slow_correlation(
          world.rows(predicted.unsqueeze(1), world.split.train),
          world.rows(world.activations, world.split.train).select(1, e.unit).unsqueeze(1));
      (kind == SearchKind::swap ? swap : forward) += c;
    }
  }
  EXPECT_GE(swap, forward - 1e-9);
}

TEST(Search, PathAndNonNegativeGiveUsableExplanations) {
  World world(700, 40, 6, 43);
  world.activations -= 3 * world.presence.select(1, 5).unsqueeze(1);  // asks for a negative weight
  Fitted fitted(world);
  LinearOptions options;
  options.path = 12;
  options.search.non_negative = true;
  for (const SearchKind kind :
       {SearchKind::none, SearchKind::greedy, SearchKind::forward, SearchKind::swap}) {
    options.search.kind = kind;
    for (const Explanation& e : fitted.explain(world, options)) {
      EXPECT_EQ(e.status, Status::ok);
      EXPECT_GT(e.val_correlation, 0.2);
      for (const Term& term : e.terms) EXPECT_GT(term.weight, 0);
    }
  }
}

TEST(Search, StopsAtTheLengthThatIsWorthItsPrice) {
  const std::vector<LengthFound> lengths{
      {1, 0.5, 0.4}, {2, 0.6, 0.5}, {3, 0.64, 0.55}, {4, 0.65, 0.56}};
  EXPECT_EQ(choose_length(lengths, 0.2), 0);   // 0.45, then 0.55 − 0.2
  EXPECT_EQ(choose_length(lengths, 0.06), 1);  // the third gains 0.045
  EXPECT_EQ(choose_length(lengths, 0.03), 2);
  EXPECT_EQ(choose_length(lengths, 0), 3);
  EXPECT_EQ(choose_length({{1, 0.5, 0.5}, {2, 0.6, 0.6}}, 0.1), 0);  // a tie: the shorter
  EXPECT_EQ(choose_length({{1, 0.9, -0.1}, {2, 0.6, 0.1}}, 0.03), 1);
  EXPECT_EQ(choose_length({{1, 0.9, kNone}}, 0.03), -1);
  EXPECT_EQ(choose_length({}, 0.03), -1);
}

TEST(Search, PriceIsOneAndAHalfTolerancesUnlessSaid) {
  const World world(700, 120, 16, 44);
  const auto explained = [&](double tolerance, double price) {
    Fitted fitted(world);
    LinearOptions options;
    options.search.tolerance = tolerance;
    options.search.price = price;
    return bytes_of(fitted.explain(world, options));
  };
  EXPECT_EQ(explained(0.02, -1), explained(0.02, 0.03));
  EXPECT_NE(explained(0.02, -1), explained(0.02, 0.1));
  EXPECT_EQ(explained(0.1, 0.1), explained(0.05, 0.1));  // growth ends later, the choice is one
}

TEST(Search, FrontierIsWhatOtherPricesGive) {
  const World world(700, 120, 16, 45);
  Fitted fitted(world);
  LinearOptions options;
  std::vector<Selection> selections;
  explain(*fitted.regression, *fitted.validation, world.names, 0, 16, options, 1, &selections);
  const auto points = frontier(selections, 0.03);
  ASSERT_EQ(points.size(), 7U);
  for (std::size_t i = 0; i < points.size(); ++i) {
    EXPECT_LE(points[i].length, points[i ? i - 1 : 0].length);
    options.search.price = points[i].price;
    double length = 0, val = 0;
    const auto explanations = fitted.explain(world, options);
    for (const Explanation& e : explanations) {
      length += static_cast<double>(e.terms.size()) / 16;
      val += e.val_correlation / 16;
    }
    EXPECT_NEAR(points[i].length, length, 1e-12);
    EXPECT_NEAR(points[i].val, val, 1e-12);
  }
  EXPECT_LT(points.back().length, points.front().length);
  options.search.kind = SearchKind::greedy;
  selections.clear();
  explain(*fitted.regression, *fitted.validation, world.names, 0, 16, options, 1, &selections);
  EXPECT_TRUE(frontier(selections, 0.03).empty());
}

/// Of all sets of `count` independent terms, the most that one explains.
double by_brute_force(const Gram& gram, const double* q, std::int64_t count,
                      std::vector<std::int64_t>& terms, std::int64_t from = 0) {
  if (static_cast<std::int64_t>(terms.size()) == count)
    return least_squares(gram, q, terms).explained;
  double best = 0;
  for (std::int64_t j = from; j < gram.size(); ++j) {
    terms.push_back(j);
    best = std::max(best, by_brute_force(gram, q, count, terms, j + 1));
    terms.pop_back();
  }
  return best;
}

TEST(BestSubset, EqualsBruteForce) {
  std::mt19937_64 random(60);
  int swap_fell_short = 0, bounded = 0;
  for (int problem = 0; problem < 200; ++problem) {
    const std::int64_t length = 1 + problem % 4;
    const std::int64_t concepts = 4 + static_cast<std::int64_t>(random() % 37);  // up to 40
    const bool singular = problem % 5 == 0;
    torch::Tensor x =
        gaussian(120, concepts, 2000 + problem) +
        1.5 * gaussian(120, 2, 3000 + problem).mm(gaussian(2, concepts, 4000 + problem));
    if (singular) x.select(1, concepts - 1).copy_(x.select(1, 0));
    x = (x - x.mean(0)) / x.std(0);
    torch::Tensor y = gaussian(120, 1, 5000 + problem);
    for (int t = 0; t < 4; ++t)
      y.select(1, 0) +=
          x.select(1, static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(concepts))) *
          (t % 2 ? 1 : -1);
    y = (y - y.mean()) / y.std();
    const torch::Tensor exact = x.to(torch::kDouble);
    const torch::Tensor matrix = (exact.t().mm(exact) / 120).to(torch::kFloat32).contiguous();
    const torch::Tensor q = y.to(torch::kDouble).t().mm(exact).div(120).contiguous();
    const Gram gram(matrix);
    const double diagonal = 119.0 / 120;
    std::vector<std::int64_t> scratch, known;
    for (std::int64_t j = 0; j < length; ++j) known.push_back(j);
    const double expected = by_brute_force(gram, q.data_ptr<double>(), length, scratch);
    BestSubset subsets(gram, q.data_ptr<double>(), diagonal, diagonal);
    const SubsetFound found = subsets.find(length, known, 1LL << 40);
    EXPECT_TRUE(found.certified);
    EXPECT_EQ(static_cast<std::int64_t>(found.terms.size()), length);
    EXPECT_NEAR(found.explained, expected, 2e-6) << problem << ": " << length << " of " << concepts;
    EXPECT_NEAR(least_squares(gram, q.data_ptr<double>(), found.terms).explained, found.explained,
                1e-12);
    EXPECT_GE(found.bound, expected - 1e-9);
    EXPECT_LT(found.bound, expected + 1e-5);
    // Ended at once, the bound still holds.
    const SubsetFound ended = subsets.find(length, known, length == 1 ? 0 : 3);
    EXPECT_GE(ended.bound, expected - 1e-9);
    bounded += !ended.certified;
    swap_fell_short += ended.explained < expected - 1e-6;
  }
  EXPECT_GT(bounded, 100);
  EXPECT_GT(swap_fell_short, 0);  // otherwise the test above is no test
}

TEST(Search, ExactIsNoWorseThanSwapAndSaysSo) {
  const World world(700, 60, 16, 46);
  Fitted fitted(world);
  LinearOptions options;
  std::vector<Selection> swap, exact, hurried;
  explain(*fitted.regression, *fitted.validation, world.names, 0, 16, options, 1, &swap);
  options.search.kind = SearchKind::exact;
  options.search.exact_scans = 1LL << 40;
  explain(*fitted.regression, *fitted.validation, world.names, 0, 16, options, 2, &exact);
  options.search.exact_scans = 2;
  explain(*fitted.regression, *fitted.validation, world.names, 0, 16, options, 1, &hurried);
  for (std::size_t k = 0; k < swap.size(); ++k) {
    ASSERT_EQ(exact[k].lengths.size(), swap[k].lengths.size());
    for (std::size_t l = 0; l < swap[k].lengths.size(); ++l) {
      const LengthFound &proven = exact[k].lengths[l], &tried = swap[k].lengths[l];
      EXPECT_TRUE(proven.certified);
      EXPECT_EQ(proven.by_swap, tried.train);
      EXPECT_GE(proven.train, tried.train);
      EXPECT_GE(proven.bound, proven.train);
      EXPECT_NEAR(proven.bound, proven.train, 1e-5);
      EXPECT_GE(hurried[k].lengths[l].bound, proven.train - 1e-9);
    }
  }
}

// ---- the whole ----------------------------------------------------------------------------------

TEST(Explain, SameBytesForAnyThreadCountAndAnyRange) {
  const World world(1200, 200, 40, 50);
  for (const SearchKind kind : {SearchKind::greedy, SearchKind::swap}) {
    LinearOptions options;
    options.search.kind = kind;
    RegressionOptions how;
    Fitted one(world, how);
    const auto expected = one.explain(world, options, 1);
    how.moments.threads = 2;
    Fitted two(world, how);
    EXPECT_EQ(bytes_of(expected), bytes_of(two.explain(world, options, 2)));
    const auto tail = explain(*one.regression, *one.validation, world.names, 33, 40, options, 1);
    EXPECT_EQ(bytes_of({expected.begin() + 33, expected.end()}), bytes_of(tail));
  }
}

TEST(Explain, TileSizeMovesTheObjectiveWithinRounding) {
  const World world(1200, 150, 20, 51);
  std::vector<std::vector<Explanation>> results;
  for (const std::int64_t rows : {64, 333, 4096}) {
    RegressionOptions how;
    how.moments.tile_rows = rows;
    Fitted fitted(world, how);
    results.push_back(fitted.explain(world));
  }
  for (const auto& other : results)
    for (std::size_t k = 0; k < other.size(); ++k)
      EXPECT_NEAR(other[k].objective / results[0][k].objective, 1, 1e-6);
}

TEST(Explain, LazyGramAgreesWithTheWholeOne) {
  const World world(600, 1500, 3, 52);
  RegressionOptions how;
  Fitted lazy(world, how);
  ASSERT_TRUE(lazy.regression->lazy);
  const auto got = lazy.explain(world);
  EXPECT_LT(lazy.regression->gram->rows_there(), 700);

  const World wide = [&] {  // the same units many times: worth the whole matrix
    World copy = world;
    copy.activations = world.activations.repeat({1, 20});
    return copy;
  }();
  Fitted whole(wide, how);
  ASSERT_FALSE(whole.regression->lazy);
  const auto expected = whole.explain(wide);
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(sorted_names(got[k]), sorted_names(expected[k]));
    EXPECT_NEAR(got[k].objective / expected[k].objective, 1, 1e-6);
  }
}

TEST(Explain, SparseLabelsAgreeWithTheSameLabelsDense) {
  World world(1500, 40, 12, 53);
  world.presence = (world.presence > 0.8).to(torch::kFloat);
  Fitted dense(world), sparse(world, {}, true);
  const auto a = dense.explain(world), b = sparse.explain(world);
  for (std::size_t k = 0; k < a.size(); ++k) {
    EXPECT_EQ(sorted_names(a[k]), sorted_names(b[k]));
    EXPECT_NEAR(a[k].val_correlation, b[k].val_correlation, 1e-6);
  }
}

// ---- hostile data -------------------------------------------------------------------------------

void expect_no_nan(const std::vector<Explanation>& explanations) {
  for (const Explanation& e : explanations) {
    EXPECT_TRUE(std::isfinite(e.bias));
    for (const Term& term : e.terms) EXPECT_TRUE(std::isfinite(term.weight));
    if (e.status == Status::ok) {
      EXPECT_TRUE(std::isfinite(e.val_correlation));
    }
  }
}

std::vector<Explanation> explain_all_ways(const World& world) {
  std::vector<Explanation> last;
  for (const bool published : {true, false})
    for (const SearchKind kind :
         {SearchKind::none, SearchKind::greedy, SearchKind::forward, SearchKind::swap}) {
      RegressionOptions how;
      how.published = published;
      Fitted fitted(world, how);
      LinearOptions options;
      options.search.kind = kind;
      last = fitted.explain(world, options);
      expect_no_nan(last);
    }
  return last;
}

TEST(Hostile, ConstantConceptsAndUnits) {
  World world(500, 30, 6, 60);
  const torch::Tensor train = torch::tensor(world.split.train);
  world.presence.select(1, 3).fill_(0.7);                     // everywhere
  world.presence.select(1, 4).index_fill_(0, train, 0.9);     // within train
  world.activations.select(1, 0).fill_(0);                    // dead
  world.activations.select(1, 1).fill_(2.5);                  // one constant
  world.activations.select(1, 2).index_fill_(0, train, 1.0);  // no variance within train
  world.activations.select(1, 3).index_fill_(0, torch::tensor(world.split.val), 1.0);  // within val
  const auto explanations = explain_all_ways(world);
  EXPECT_EQ(explanations[0].status, Status::dead);
  EXPECT_EQ(explanations[1].status, Status::dead);
  EXPECT_EQ(explanations[2].status, Status::constant);
  EXPECT_EQ(explanations[3].status, Status::constant);
  EXPECT_EQ(explanations[4].status, Status::ok);
  for (const Explanation& e : explanations)
    for (const Term& term : e.terms) {
      EXPECT_NE(term.concept_name, "c3");
      EXPECT_NE(term.concept_name, "c4");
    }
}

TEST(Hostile, DuplicateConceptsAreUsedOnce) {
  World world(500, 20, 5, 61);
  world.presence = torch::cat({world.presence, world.presence}, 1);
  for (int j = 20; j < 40; ++j) world.names.push_back("c" + std::to_string(j));
  for (const Explanation& e : explain_all_ways(world)) {
    std::vector<std::int64_t> of;
    for (const Term& term : e.terms) of.push_back(std::stoll(term.concept_name.substr(1)) % 20);
    std::sort(of.begin(), of.end());
    EXPECT_EQ(std::unique(of.begin(), of.end()), of.end());
  }
}

TEST(Hostile, MoreConceptsThanTrainingRows) {
  const World world(60, 400, 4, 62);
  for (const Explanation& e : explain_all_ways(world)) EXPECT_NE(e.status, Status::not_converged);
}

TEST(Hostile, OneUnitOneConceptFewRows) {
  World one(200, 1, 1, 63);
  EXPECT_EQ(explain_all_ways(one)[0].terms.size(), 1U);
  World tiny(10, 5, 2, 64);
  tiny.presence.mul_(1.2);  // enough of it to be present
  explain_all_ways(tiny);
}

TEST(Hostile, NoConceptPassesTheFilterOrAllUnitsDead) {
  World faint(200, 10, 3, 65);
  faint.presence.mul_(0.1);
  EXPECT_THROW(explain_all_ways(faint), Error);
  RegressionOptions how;
  how.min_presence = 0.02;
  const Fitted found(faint, how);
  EXPECT_GT(found.regression->concept_count(), 0);
  how.min_presence = 0.5;
  faint.presence.select(1, 4).mul_(10);
  const Fitted one(faint, how);
  EXPECT_EQ(one.regression->concept_count(), 1);
  EXPECT_EQ(one.regression->rare_concepts(), 9);
  World dead(200, 10, 3, 66);
  dead.activations.zero_();
  for (const Explanation& e : explain_all_ways(dead)) EXPECT_EQ(e.status, Status::dead);
}

TEST(Hostile, ValuesThatAreNotFiniteAreNamed) {
  const auto message = [](World world) -> std::string {
    try {
      Fitted fitted(world);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      return error.what();
    }
    return "";
  };
  World world(200, 10, 3, 67);
  world.activations[41][2] = std::nanf("");
  EXPECT_NE(message(world).find("activations: row 41, unit 2 is NaN"), std::string::npos);
  world = World(200, 10, 3, 67);
  world.presence[33][7] = INFINITY;
  EXPECT_NE(message(world).find("row 33, concept 7 is infinite"), std::string::npos);
  world = World(200, 10, 3, 67);
  world.split.val.clear();
  EXPECT_NE(message(world).find("no rows"), std::string::npos);
  world = World(200, 10, 3, 67);
  world.presence = world.presence.narrow(0, 0, 100).clone();
  EXPECT_NE(message(world).find("100 rows"), std::string::npos);
}

}  // namespace
}  // namespace linex
