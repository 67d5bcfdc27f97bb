// Proximal SAGA for the elastic net of several targets, as glm_saga runs it (docs/methods.md §1.5).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>

namespace linex {

struct SagaOptions {
  double l1 = 0.05, l2 = 0.0005;  ///< λα and λ(1 − α)
  std::int64_t batch = 512;       ///< rows a step
  double rate = 5e-4;             ///< step size
  std::int64_t look_behind = 5;   ///< epochs without improvement before it stops
  double tolerance = 1e-5;        ///< improvement that counts, for each target
  std::int64_t max_epochs = 500;
  std::uint64_t seed = 0;  ///< of the shuffling
  int threads = 1;         ///< same bytes for any number
};

struct SagaResult {
  torch::Tensor weight;  ///< float32 (K, C): the last iterate, as published
  torch::Tensor bias;    ///< float32 (K)
  std::int64_t epochs = 0;
  bool stopped = false;  ///< by look_behind, not by max_epochs
};

/// x: float32 (n, C) standardised; y: float32 (n, K). `tick` is called after each epoch and may
/// throw. Peak memory beside x: two (batch, C) tiles, three (C, K) matrices and (n, K).
SagaResult solve_saga(const torch::Tensor& x, const torch::Tensor& y, const SagaOptions& options,
                      const std::function<void()>& tick = {});

}  // namespace linex
