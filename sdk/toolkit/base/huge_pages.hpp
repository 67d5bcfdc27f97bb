// Large arrays on large pages.
#pragma once

#include <torch/types.h>

namespace linex {

/// at::empty on the CPU, with the kernel asked to back it by huge pages. Reading a wide row-major
/// matrix down its columns misses the TLB on every row otherwise.
torch::Tensor empty_on_huge_pages(at::IntArrayRef shape, torch::ScalarType type);

}  // namespace linex
