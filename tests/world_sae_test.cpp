// The demo's sparse autoencoder.
#include <gtest/gtest.h>

#include "host/demo/world_sae.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace {

using torch::Tensor;

/// Sparse sums of known directions.
struct Planted {
  Tensor directions, positions;
};

Planted planted(std::int64_t n) {
  torch::manual_seed(11);
  constexpr std::int64_t kDirections = 24, kWidth = 16, kActive = 2;
  Planted made{torch::randn({kDirections, kWidth}), {}};
  made.directions = made.directions / made.directions.norm(2, 1, true);
  const auto at = std::get<1>(torch::rand({n, kDirections}).topk(kActive, 1));
  const auto codes = torch::zeros({n, kDirections}).scatter(1, at, torch::rand({n, kActive}) + 0.5);
  made.positions = codes.matmul(made.directions) + 1;
  return made;
}

TEST(TrainedSae, FindsThePlantedDirections) {
  const Planted data = planted(6000);
  SaeOptions options;
  options.latents = 48;
  options.k = 2;
  options.epochs = 60;
  options.batch = 256;
  std::int64_t seen = 0;
  const auto weights = train_sae(data.positions, options, [&](std::int64_t n) { seen += n; });
  EXPECT_EQ(seen, 60 * (6000 / 256) * 256);
  const Tensor& decoder = weights.at("W_dec");
  EXPECT_LT((decoder.norm(2, 1) - 1).abs().max().item<double>(), 1e-5);
  EXPECT_EQ(weights.at("W_enc").sizes(), (torch::IntArrayRef{16, 48}));
  const Tensor best = std::get<0>(data.directions.matmul(decoder.t()).max(1));
  EXPECT_GT(best.mean().item<double>(), 0.9) << best;

  const Tensor y = data.positions - weights.at("b_dec");
  const Tensor before = y.matmul(weights.at("W_enc")) + weights.at("b_enc");
  const auto [values, at] = before.topk(2, 1);
  const Tensor latents = torch::zeros_like(before).scatter(1, at, values.relu());
  const double rest = (latents.matmul(decoder) - y).square().sum().item<double>(),
               whole = (y - y.mean(0)).square().sum().item<double>();
  EXPECT_LT(rest, 0.15 * whole);
}

TEST(TrainedSae, IsTheSameForAnyThreadCount) {
  const Planted data = planted(600);
  SaeOptions options;
  options.latents = 32;
  options.epochs = 3;
  options.batch = 128;
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = train_sae(data.positions, options, [](std::int64_t) {});
  at::set_num_threads(2);
  const auto two = train_sae(data.positions, options, [](std::int64_t) {});
  at::set_num_threads(before);
  for (const auto& [name, tensor] : one) EXPECT_TRUE(torch::equal(tensor, two.at(name))) << name;
}

}  // namespace
}  // namespace linex
