#include "toolkit/base/huge_pages.hpp"

#include <ATen/ops/empty.h>
#include <sys/mman.h>
#include <unistd.h>

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

void free_pages(torch::Tensor& tensor) {
#ifdef MADV_DONTNEED
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data_ptr());
  // Whole pages inside alone: around them lies what the allocator keeps for itself.
  const std::uintptr_t first = (begin + page - 1) / page * page;
  const std::uintptr_t last = (begin + tensor.nbytes()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#endif
  tensor = torch::Tensor();
}

}  // namespace linex
