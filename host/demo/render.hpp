// One scene to pixels.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "host/demo/world.hpp"

namespace linex {

/// uint8 (size, size, 3), RGB, antialiased.
torch::Tensor render(const Scene& scene, std::int64_t size);
/// uint8 (size, size): 1 where more than half of the pixel is object.
torch::Tensor render_mask(const Scene& scene, std::int64_t size);

}  // namespace linex
