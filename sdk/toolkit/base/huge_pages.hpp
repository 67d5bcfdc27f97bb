// Large arrays on large pages.
#pragma once

#include <torch/types.h>

namespace linex {

/// at::empty on the CPU, with the kernel asked to back it by huge pages. Reading a wide row-major
/// matrix down its columns misses the TLB on every row otherwise.
torch::Tensor empty_on_huge_pages(at::IntArrayRef shape, torch::ScalarType type);

/// Gives the memory of a CPU tensor, which nobody else holds, back to the system: the allocator may
/// keep a block that is freed, but no longer pages for it. Its values are lost.
void free_pages(torch::Tensor& tensor);

}  // namespace linex
