// What transformers are made of beside ops.hpp.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "toolkit/net/ops.hpp"

namespace linex {

/// Per-head normalisation of queries and keys over their d values; undefined weights: none.
struct HeadNorm {
  torch::Tensor weight, bias;
  double eps = 1e-6;
};

/// softmax(q·kᵀ/√d)·v with joined heads: (n, T, D). Inputs are q, k and v (n, T, D), or one
/// (n, T, 3D) that holds them in this order.
OpPtr make_attend(std::int64_t heads, HeadNorm query = {}, HeadNorm key = {});
/// The same of one learnt query (1, heads, 1, d) for all images; input: keys and values (n, T, 2D),
/// output (n, 1, D).
OpPtr make_attend_latent(torch::Tensor query);
/// (n, T, D) -> (n, P + T, D): `prefix` (1, P, D) before the tokens.
OpPtr make_prepend(torch::Tensor prefix);
/// Mean of the tokens from `first` on: (n, T, D) -> (n, D).
OpPtr make_mean_tokens(std::int64_t first);
OpPtr make_concat();                     ///< any number of (n, D_i) -> (n, ΣD_i)
OpPtr make_scale(torch::Tensor factor);  ///< inputs[0] · factor, which broadcasts
/// The two steps of SwiGLU: SiLU of the first half of (..., 2D); and inputs[0] (..., D) times the
/// second half of inputs[1] (..., 2D).
OpPtr make_silu_half();
OpPtr make_gate();

}  // namespace linex
