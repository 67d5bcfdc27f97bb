#include "toolkit/base/huge_pages.hpp"

#include <ATen/ops/empty.h>
#include <sys/mman.h>

namespace linex {

torch::Tensor empty_on_huge_pages(at::IntArrayRef shape, torch::ScalarType type) {
  constexpr std::uintptr_t kHuge = std::uintptr_t{2} << 20;
  torch::Tensor tensor = at::empty(shape, type);
#ifdef MADV_HUGEPAGE
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data_ptr());
  const std::uintptr_t first = (begin + kHuge - 1) / kHuge * kHuge;
  const std::uintptr_t last = (begin + tensor.nbytes()) / kHuge * kHuge;
  // Only a hint: a kernel without huge pages refuses it and nothing is lost.
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return tensor;
}

}  // namespace linex
