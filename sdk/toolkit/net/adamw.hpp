// AdamW (Loshchilov and Hutter 2019) for the small networks that linex trains itself. Not
// torch::optim::AdamW, though a test holds the two together: that one rounds otherwise (√v over
// √(1 − β₂ᵗ), here the root of v over 1 − β₂ᵗ), and the networks behind every published figure of
// the embedded world were trained with these bits.
#pragma once

#include <torch/types.h>

#include <vector>

namespace linex {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;  ///< momenta of the gradient and of its square
  double epsilon = 1e-8;
  double decay = 0;           ///< of the weights, times the rate
  bool decay_vectors = true;  ///< also biases and scales, not only matrices and larger
};

class AdamW {
 public:
  /// Float tensors, shared with the caller: step() changes their values.
  AdamW(std::vector<torch::Tensor> parameters, const AdamWOptions& options);

  /// One step; a gradient for each parameter, in their order. Undefined: that one stays.
  void step(const std::vector<torch::Tensor>& gradients, double rate);

 private:
  std::vector<torch::Tensor> parameters_, first_, second_;
  AdamWOptions options_;
  int steps_ = 0;
};

}  // namespace linex
