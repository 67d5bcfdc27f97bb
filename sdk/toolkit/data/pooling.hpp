// One number a unit from a layer's raw output (docs/methods.md §1.1).
#pragma once

#include <torch/types.h>

#include <string>

#include "linex/pool.hpp"

namespace linex {

/// Pools (n, C, H, W) over H and W, or (n, T, D) over all T tokens (`first`: token 0); (n, D) stays
/// as it is. Returns float32 (n, units), contiguous. Throws Error(usage) naming `layer` for `first`
/// on anything but tokens, and for other ranks.
torch::Tensor pool_output(const torch::Tensor& output, Pool pool, const std::string& layer);

}  // namespace linex
