// Sums of few concepts plus noise, by seed: what resampling is tested on.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace linex {

/// Units of three concepts each with weights 1.5, −1.4 and 1.3 on standardised presence, which
/// explain the share `r2` of them.
struct PlantedRegression {
  PlantedRegression(std::int64_t n, std::int64_t concepts, std::int64_t units, double r2,
                    std::uint64_t seed, int threads = 2)
      : names(static_cast<std::size_t>(concepts)) {
    torch::manual_seed(seed);
    const torch::Tensor presence =
        torch::sigmoid(2 * (torch::randn({n, concepts}) +
                            0.3 * torch::randn({n, 2}).mm(torch::randn({2, concepts}))));
    const torch::Tensor std = presence.std(0);
    activations = torch::zeros({n, units});
    for (std::int64_t k = 0; k < units; ++k) {
      torch::Tensor signal = torch::zeros({n});
      const std::int64_t first = (7 * k) % concepts;
      const double sizes[] = {1.5, -1.4, 1.3};
      truth.emplace_back();
      for (int t = 0; t < 3; ++t) {
        const std::int64_t j = (first + 11 * t) % concepts;
        const double weight = sizes[t] / std[j].item<double>();
        signal += weight * presence.select(1, j);
        truth.back()[j] = weight;
      }
      const double noise = signal.std().item<double>() * std::sqrt(1 / r2 - 1);
      activations.select(1, k).copy_(signal + noise * torch::randn({n}));
    }
    for (std::int64_t j = 0; j < concepts; ++j)
      names[static_cast<std::size_t>(j)] = "c" + std::to_string(j);
    for (std::int64_t i = 0; i < n; ++i)
      (i % 10 < 7 ? split.train : i % 10 == 7 ? split.val : split.test).push_back(i);
    source = std::make_unique<MatrixPresence>(presence);
    RegressionOptions how;
    how.moments.threads = threads;
    std::vector<std::int64_t> all;
    for (std::int64_t k = 0; k < units; ++k) all.push_back(k);
    regression =
        std::make_unique<Regression>(RegressionInput{*source, activations, all, split}, how);
    validation = std::make_unique<HeldOut>(regression->validation());
    explain(*regression, *validation, names, 0, units, LinearOptions(), threads, &selections);
  }

  torch::Tensor activations;
  std::vector<std::string> names;
  std::vector<std::map<std::int64_t, double>> truth;  ///< of each unit: concept, raw weight
  Split split;
  std::unique_ptr<MatrixPresence> source;
  std::unique_ptr<Regression> regression;
  std::unique_ptr<HeldOut> validation;
  std::vector<Selection> selections;
};

}  // namespace linex
