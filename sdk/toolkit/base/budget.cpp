#include "toolkit/base/budget.hpp"

#include <algorithm>
#include <limits>

#include "linex/error.hpp"

namespace linex {

MemoryBudget::MemoryBudget(std::uint64_t file_bytes, std::string source)
    : file_bytes_(file_bytes), source_(std::move(source)) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max() / 2;
  const std::uint64_t allowed =
      kMemoryBase + std::min(kMost / kMemoryFactor, file_bytes) * kMemoryFactor;
  // The rest is for what nobody counts: the allocator's own, the file's pages, the error.
  left_ = allowed / 4 * 3;
}

void MemoryBudget::refuse() const {
  throw input_error(source_ + ": reading these " + std::to_string(file_bytes_) +
                    " bytes would take more than " + std::to_string(kMemoryFactor) +
                    " times as much memory and " + std::to_string(kMemoryBase >> 20) +
                    " MiB; the file is damaged or made to exhaust memory");
}

bool json_nests_at_most(std::string_view text, std::size_t most) {
  std::size_t depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > most) return false;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace linex
